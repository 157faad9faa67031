"""Instances and receipts: what the sidecars reported."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, and_, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.rollout import Instance
from hms_mgt.store.tables import ack_cursor, instance, receipt

# Before the first entry of any stream.
BEGINNING = "0-0"


class Receipt(NamedTuple):
    """One instance's report on one patch at one stage."""

    patch_id: int
    instance: str
    stage: str
    at: datetime
    detail: str


async def save(tx: AsyncConnection, seen: Instance) -> None:
    """Store the newest state of an instance. Reports are taken in by the order of their stream, under its lock."""
    values: dict[str, Any] = seen._asdict()
    lists = {name: list(values[name]) for name in ("active", "failed", "drift")}
    values |= {**lists, "first_seen": seen.last_seen}
    statement = upsert(instance).values(values)
    fresh = {name: statement.excluded[name] for name in values if name not in {"id", "tenant", "first_seen"}}
    await tx.execute(statement.on_conflict_do_update(index_elements=["tenant", "id"], set_=fresh))


async def add_receipts(tx: AsyncConnection, tenant: str, receipts: Sequence[Receipt]) -> None:
    """Store receipts; one that came before, by a retry, is left as it is."""
    if receipts:
        rows = [{"tenant": tenant, **one._asdict()} for one in receipts]
        await tx.execute(upsert(receipt).values(rows).on_conflict_do_nothing())


async def receipts_of(tx: AsyncConnection, patch_id: int) -> list[Receipt]:
    """Return the receipts about one patch in the order they were made."""
    query = select(receipt).where(receipt.c.patch_id == patch_id).order_by(receipt.c.at, receipt.c.id).limit(5000)
    return [Receipt(row.patch_id, row.instance, row.stage, row.at, row.detail) for row in await tx.execute(query)]


async def of_service(tx: AsyncConnection, tenant: str, service: str) -> list[Instance]:
    """Return a service's instances that are not gone."""
    mine = and_(instance.c.tenant == tenant, instance.c.service == service, instance.c.gone_at.is_(None))
    return [_instance(row) for row in await tx.execute(select(instance).where(mine).order_by(instance.c.id))]


async def versions(tx: AsyncConnection, tenant: str, service: str) -> set[str]:
    """Return the versions that a service's instances run."""
    mine = and_(instance.c.tenant == tenant, instance.c.service == service, instance.c.gone_at.is_(None))
    return set((await tx.execute(select(instance.c.version).where(mine).distinct())).scalars())


async def fleet(tx: AsyncConnection, tenant: str | None, service: str | None, gone_since: datetime) -> list[Instance]:
    """Return all instances in scope, those gone before `gone_since` left out."""
    query = select(instance).where(or_(instance.c.gone_at.is_(None), instance.c.gone_at >= gone_since))
    if tenant is not None:
        query = query.where(instance.c.tenant == tenant)
    if service is not None:
        query = query.where(instance.c.service == service)
    ordered = query.order_by(instance.c.tenant, instance.c.service, instance.c.id)
    return [_instance(row) for row in await tx.execute(ordered)]


async def mark_gone(tx: AsyncConnection, tenant: str, names: Sequence[str], now: datetime) -> None:
    """Record that an orchestrator took these instances down."""
    if not names:
        return
    mine = and_(instance.c.tenant == tenant, instance.c.id.in_(names), instance.c.gone_at.is_(None))
    await tx.execute(update(instance).where(mine).values(gone_at=now))


async def cursors(tx: AsyncConnection) -> dict[str, str]:
    """Return the id of the last report taken in, by tenant."""
    return {row.tenant: row.entry_id for row in await tx.execute(select(ack_cursor))}


async def lock_cursor(tx: AsyncConnection, tenant: str) -> str:
    """Become the only one that takes in this tenant's reports for this transaction. Returns the last id taken in."""
    first = upsert(ack_cursor).values(tenant=tenant, entry_id=BEGINNING).on_conflict_do_nothing()
    await tx.execute(first)
    query = select(ack_cursor.c.entry_id).where(ack_cursor.c.tenant == tenant).with_for_update()
    return str((await tx.execute(query)).scalar_one())


async def move_cursor(tx: AsyncConnection, tenant: str, entry_id: str) -> None:
    """Record the last report taken in from a tenant's stream."""
    await tx.execute(update(ack_cursor).where(ack_cursor.c.tenant == tenant).values(entry_id=entry_id))


def order(entry_id: str) -> tuple[int, int]:
    """Return the place of a stream's entry: ids are milliseconds and a sequence number."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def _instance(row: Row[Any]) -> Instance:
    return Instance(
        id=row.id,
        tenant=row.tenant,
        service=row.service,
        version=row.version,
        url=row.url,
        revision=row.revision,
        active=tuple(row.active),
        digest_ok=row.digest_ok,
        failed=tuple(row.failed),
        refused=row.refused,
        phase=row.phase,
        trouble=row.trouble,
        drift=tuple(row.drift),
        stale=row.stale,
        last_seen=row.last_seen,
        gone_at=row.gone_at,
    )
