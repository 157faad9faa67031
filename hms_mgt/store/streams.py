"""Streams: one revision after the other for each tenant and service, and the outbox that carries them out."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.store.tables import outbox, stream, stream_revision


class Revision(NamedTuple):
    """One committed step of a stream, signed and ready to travel."""

    tenant: str
    service: str
    revision: int
    snapshot: str
    delta: str
    entries: Sequence[Mapping[str, Any]]


class Pending(NamedTuple):
    """A delta that waits to be published."""

    tenant: str
    service: str
    revision: int
    delta: str


class Head(NamedTuple):
    """Where a stream stands, with its signed snapshot."""

    tenant: str
    service: str
    revision: int
    snapshot: str


async def next_revision(tx: AsyncConnection, tenant: str, service: str) -> int:
    """Draw the stream's next revision. Its row stays locked to the end of the transaction: none is skipped."""
    first = upsert(stream).values(tenant=tenant, service=service, revision=1, snapshot="")
    drawn = first.on_conflict_do_update(
        index_elements=["tenant", "service"], set_={"revision": stream.c.revision + 1}
    ).returning(stream.c.revision)
    return int((await tx.execute(drawn)).scalar_one())


async def commit_revision(tx: AsyncConnection, step: Revision, now: datetime) -> None:
    """Store a drawn revision: the head's snapshot, the history row and the outbox row."""
    here = {"tenant": step.tenant, "service": step.service, "revision": step.revision}
    mine = (stream.c.tenant == step.tenant) & (stream.c.service == step.service)
    await tx.execute(update(stream).where(mine).values(snapshot=step.snapshot))
    await tx.execute(insert(stream_revision), {**here, "at": now, "entries": step.entries})
    await tx.execute(insert(outbox), {**here, "delta": step.delta, "created_at": now})


async def head(tx: AsyncConnection, tenant: str, service: str, *, lock: bool = False) -> Head | None:
    """Return where one stream stands, or `None` when it has no revision yet; with `lock` it stays there."""
    query = select(stream).where(stream.c.tenant == tenant, stream.c.service == service)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else Head(row.tenant, row.service, row.revision, row.snapshot)


async def replace_snapshot(tx: AsyncConnection, of: Head, snapshot: str) -> None:
    """Store the snapshot of the same revision, signed anew."""
    mine = (stream.c.tenant == of.tenant) & (stream.c.service == of.service) & (stream.c.revision == of.revision)
    await tx.execute(update(stream).where(mine).values(snapshot=snapshot))


async def heads(tx: AsyncConnection) -> list[Head]:
    """Return where every stream in scope stands."""
    return [Head(r.tenant, r.service, r.revision, r.snapshot) for r in await tx.execute(select(stream))]


async def entries(tx: AsyncConnection, tenant: str, service: str, revision: int) -> list[Mapping[str, Any]] | None:
    """Return what the stream held at a revision, or `None` when there is no such revision."""
    query = select(stream_revision.c.entries).where(
        stream_revision.c.tenant == tenant,
        stream_revision.c.service == service,
        stream_revision.c.revision == revision,
    )
    return (await tx.execute(query)).scalar_one_or_none()


async def patch_ids(tx: AsyncConnection, tenant: str, service: str, revision: int) -> list[int] | None:
    """Return the ids of the patches the stream held at a revision, or `None` when there is no such revision."""
    held = await entries(tx, tenant, service, revision)
    return None if held is None else [_patch_id(entry) for entry in held]


class Past(NamedTuple):
    """What a stream held at one of its revisions."""

    revision: int
    at: datetime
    patch_ids: list[int]


async def page(tx: AsyncConnection, tenant: str, service: str, before: int | None, limit: int) -> list[Past]:
    """List a stream's revisions, newest first, those below `before`."""
    mine = (stream_revision.c.tenant == tenant) & (stream_revision.c.service == service)
    query = select(stream_revision).where(mine).order_by(stream_revision.c.revision.desc()).limit(limit)
    if before is not None:
        query = query.where(stream_revision.c.revision < before)
    return [Past(row.revision, row.at, [_patch_id(one) for one in row.entries]) for row in await tx.execute(query)]


def _patch_id(entry: Mapping[str, Any]) -> int:
    """Read whose decision an entry carries. It was verified before it was stored."""
    return int(json.loads(base64.b64decode(entry["decision"]["payload"]))["patch_id"])


async def pending_streams(tx: AsyncConnection) -> list[tuple[str, str]]:
    """Return the (tenant, service) pairs that have something to publish."""
    query = select(outbox.c.tenant, outbox.c.service).where(outbox.c.published_at.is_(None)).distinct()
    return [(row.tenant, row.service) for row in await tx.execute(query)]


async def lock_for_publishing(tx: AsyncConnection, tenant: str, service: str) -> bool:
    """Become the only publisher of one stream for this transaction; False when another one is.

    Deltas of one stream must leave in order, and no older snapshot may overwrite a newer one.
    """
    key = func.hashtextextended(f"publish:{tenant}:{service}", 0)
    return bool((await tx.execute(select(func.pg_try_advisory_xact_lock(key)))).scalar_one())


async def pending(tx: AsyncConnection, tenant: str, service: str) -> list[Pending]:
    """Return the stream's unpublished deltas in order."""
    query = (
        select(outbox)
        .where(outbox.c.tenant == tenant, outbox.c.service == service, outbox.c.published_at.is_(None))
        .order_by(outbox.c.revision)
        .limit(100)
    )
    return [Pending(row.tenant, row.service, row.revision, row.delta) for row in await tx.execute(query)]


async def mark_published(tx: AsyncConnection, sent: Sequence[Pending], now: datetime) -> None:
    """Record that these deltas left."""
    for one in sent:
        mine = (outbox.c.tenant == one.tenant) & (outbox.c.service == one.service)
        await tx.execute(update(outbox).where(mine, outbox.c.revision == one.revision).values(published_at=now))
