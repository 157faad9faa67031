"""Freezes: made, read, lifted, never deleted; and the patches they hold."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, exists, insert, or_, select, true, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.freeze import PLATFORM, Freeze, NewFreeze
from hms_mgt.domain.patch import PLANNED
from hms_mgt.store.tables import freeze, patch


class Filters(NamedTuple):
    """What a listing is narrowed to. `tenant` asks for its own freezes and the platform's."""

    tenant: str | None = None
    # Leave out those that were lifted, and those over by this instant.
    standing_at: datetime | None = None


async def add(tx: AsyncConnection, new: NewFreeze, created_by: str, now: datetime) -> Freeze:
    """Store a freeze."""
    values = {**new._asdict(), "except_roles": list(new.except_roles), "created_by": created_by, "created_at": now}
    return _freeze((await tx.execute(insert(freeze).returning(freeze), values)).one())


async def get(tx: AsyncConnection, freeze_id: int, *, lock: bool = False) -> Freeze | None:
    """Read one freeze; with `lock` nobody else changes it before this transaction ends."""
    query = select(freeze).where(freeze.c.id == freeze_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _freeze(row)


async def of_tenant(tx: AsyncConnection, tenant: str, since: datetime | None = None) -> list[Freeze]:
    """Return the freezes that concern a tenant, its own and the platform's: not lifted, and not over by `since`."""
    query = select(freeze).where(freeze.c.tenant.in_((tenant, PLATFORM)), freeze.c.lifted_at.is_(None))
    if since is not None:
        query = query.where(freeze.c.ends_at > since)
    return [_freeze(row) for row in await tx.execute(query.order_by(freeze.c.id))]


async def known_at(tx: AsyncConnection, tenant: str, at: datetime) -> list[Freeze]:
    """Return the freezes that concerned a tenant, as they were known at an instant: made by then, and not lifted."""
    standing = or_(freeze.c.lifted_at.is_(None), freeze.c.lifted_at > at)
    query = select(freeze).where(freeze.c.tenant.in_((tenant, PLATFORM)), freeze.c.ends_at > at, standing)
    found = await tx.execute(query.where(freeze.c.created_at <= at).order_by(freeze.c.id))
    return [_freeze(row)._replace(lifted_at=None, lifted_by=None) for row in found]


async def page(tx: AsyncConnection, filters: Filters, before: int | None, limit: int) -> list[Freeze]:
    """List freezes, newest first, those with an id below `before`."""
    query = select(freeze).order_by(freeze.c.id.desc()).limit(limit)
    if filters.tenant is not None:
        query = query.where(freeze.c.tenant.in_((filters.tenant, PLATFORM)))
    if filters.standing_at is not None:
        query = query.where(freeze.c.lifted_at.is_(None), freeze.c.ends_at > filters.standing_at)
    if before is not None:
        query = query.where(freeze.c.id < before)
    return [_freeze(row) for row in await tx.execute(query)]


async def lift(tx: AsyncConnection, one: Freeze, lifted_by: str, now: datetime) -> Freeze:
    """Mark a freeze as lifted, and let go of the patches that it may be holding: each is due again at once."""
    lifted = update(freeze).where(freeze.c.id == one.id).values(lifted_at=now, lifted_by=lifted_by).returning(freeze)
    row = (await tx.execute(lifted)).one()
    concerned = true() if one.tenant == PLATFORM else patch.c.tenant == one.tenant
    values = {"held_until": None, "status_reason": f"freeze {one.id} was lifted", "updated_at": now}
    await tx.execute(update(patch).where(_held(now, concerned)).values(values))
    return _freeze(row)


async def release_unfrozen(tx: AsyncConnection, now: datetime) -> None:
    """Let go of patches that are held though no freeze is on: one may be lifted while it is just being heeded."""
    on = exists().where(
        freeze.c.tenant.in_((patch.c.tenant, PLATFORM)),
        freeze.c.lifted_at.is_(None),
        freeze.c.starts_at <= now,
        freeze.c.ends_at > now,
    )
    await tx.execute(update(patch).where(_held(now, ~on)).values(held_until=None, updated_at=now))


def _held(now: datetime, narrowed: ColumnElement[bool]) -> ColumnElement[bool]:
    """Name the held patches that nobody is at. Who is at one asks about the freezes itself, or finds it held later."""
    held = select(patch.c.id).where(patch.c.status.in_(PLANNED), patch.c.held_until > now, narrowed)
    return patch.c.id.in_(held.with_for_update(skip_locked=True))


def _freeze(row: Row[Any]) -> Freeze:
    return Freeze(
        id=row.id,
        tenant=row.tenant,
        starts_at=row.starts_at,
        ends_at=row.ends_at,
        reason=row.reason,
        except_roles=tuple(row.except_roles),
        created_by=row.created_by,
        created_at=row.created_at,
        lifted_at=row.lifted_at,
        lifted_by=row.lifted_by,
    )
