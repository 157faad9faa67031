"""Reads the audit: every column as it stands there, even what the application could not have written."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Text, cast, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import chain
from hms_mgt.store.tables import audit, audit_head

_AS_TEXT = (*chain.JSON_COLUMNS, "at")
# Instants and JSON as the letters that are stored.
_WHOLE = select(*(cast(one, Text).label(one.name) if one.name in _AS_TEXT else one for one in audit.c))
_BATCH = 1000


class Filters(NamedTuple):
    """What rows are asked for. A trailing `*` of `action` or `subject` stands for whatever follows."""

    # `*` is what concerns no single tenant.
    tenant: str | None = None
    actor: str | None = None
    action: str | None = None
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    request_id: str | None = None


async def page(tx: AsyncConnection, filters: Filters, before: int | None, limit: int) -> list[dict[str, Any]]:
    """List rows, newest first, those with an id below `before`."""
    query = _narrowed(filters).order_by(audit.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(audit.c.id < before)
    return [_entry(row) for row in (await tx.execute(query)).mappings()]


async def newest(tx: AsyncConnection) -> int:
    """Return the highest id there is in scope, 0 when there is none."""
    return int((await tx.execute(select(func.coalesce(func.max(audit.c.id), 0)))).scalar_one())


async def batch(tx: AsyncConnection, filters: Filters, after: int, up_to: int, limit: int) -> list[dict[str, Any]]:
    """List rows, oldest first, those with an id above `after` and not above `up_to`."""
    query = _narrowed(filters).where(audit.c.id > after, audit.c.id <= up_to).order_by(audit.c.id).limit(limit)
    return [_entry(row) for row in (await tx.execute(query)).mappings()]


async def everything(tx: AsyncConnection) -> AsyncIterator[Mapping[str, Any]]:
    """Read all rows in scope, oldest first, few of them at a time; however long the reader takes over it."""
    await tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    async for row in _read(tx, _WHOLE.order_by(audit.c.id)):
        yield row


async def unchained(tx: AsyncConnection, name: str) -> AsyncIterator[Mapping[str, Any]]:
    """Read what was written of a chain's matters before there were chains, oldest first."""
    query = _WHOLE.where(audit.c.chain.is_(None), _concerns(name)).order_by(audit.c.id)
    async for row in _read(tx, query):
        yield row


async def heads(tx: AsyncConnection) -> list[Mapping[str, Any]]:
    """Return where each chain in scope ends, as it stands there."""
    query = select(
        audit_head.c.tenant.label("chain"),
        audit_head.c.seq,
        audit_head.c.hash,
        cast(audit_head.c.at, Text).label("at"),
        audit_head.c.envelope,
    ).order_by(audit_head.c.tenant)
    return [{**row, "at": chain.stamp_of(row["at"])} for row in (await tx.execute(query)).mappings()]


async def _read(tx: AsyncConnection, query: Select[Any]) -> AsyncIterator[Mapping[str, Any]]:
    async with tx.stream(query.execution_options(yield_per=_BATCH)) as found:
        async for row in found.mappings():
            yield _entry(row)


def _narrowed(filters: Filters) -> Select[Any]:
    query = _WHOLE
    for name in ("actor", "request_id"):
        if (value := getattr(filters, name)) is not None:
            query = query.where(audit.c[name] == value)
    for name in ("action", "subject"):
        if (value := getattr(filters, name)) is not None:
            query = query.where(_like(audit.c[name], value))
    if filters.tenant is not None:
        query = query.where(_concerns(filters.tenant))
    if filters.since is not None:
        query = query.where(audit.c.at >= filters.since)
    return query if filters.until is None else query.where(audit.c.at < filters.until)


def _concerns(name: str) -> ColumnElement[bool]:
    return audit.c.tenant.is_(None) if name == chain.PLATFORM else audit.c.tenant == name


def _like(column: ColumnElement[str], wanted: str) -> ColumnElement[bool]:
    return column.startswith(wanted[:-1], autoescape=True) if wanted.endswith("*") else column == wanted


def _entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as it is hashed and shown."""
    # What was written before there were chains was spelled in another way.
    exact = row["chain"] is not None
    values = {name: None if row[name] is None else _value(row[name], exact=exact) for name in chain.JSON_COLUMNS}
    return {**row, **values, "at": chain.stamp_of(row["at"])}


def _value(text: str, *, exact: bool) -> Any:
    """Return a JSON value; where it is not spelled as we spell it, its letters, which no hash was made of."""
    try:
        value = json.loads(text)
        same = value is not None and chain.spelled(value) == text
    except (ValueError, RecursionError):
        return text
    return value if same or not exact else text
