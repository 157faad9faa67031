"""Patches: storing, reading, claiming, and the guarded change of status."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, Text, and_, bindparam, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.deployment import RESOURCE_KNOBS
from hms_mgt.domain.patch import IN_STREAM, PLANNED, STANDING, Patch, PatchSpec, Status
from hms_mgt.domain.window import Window
from hms_mgt.store.tables import approval_order, instance, patch

# A freeze may hold a patch beyond its start. `greatest` passes over NULL.
_begins = func.greatest(patch.c.window_start, patch.c.held_until)


class NewPatch(NamedTuple):
    """A patch about to be stored, with who asks and how a retry of the same request is known."""

    spec: PatchSpec
    author: str
    author_role: str
    idempotency_key: str | None
    body_digest: str
    freeze_exemption: str | None = None


class Filters(NamedTuple):
    """What a listing is narrowed to."""

    tenant: str | None = None
    service: str | None = None
    status: str | None = None


_ADD = insert(patch).returning(patch.c.id)


async def add(tx: AsyncConnection, new: NewPatch, now: datetime) -> int:
    """Store a patch as QUEUED. Returns its id."""
    spec = new.spec
    values = {
        "tenant": spec.tenant,
        "service": spec.service,
        "version_selector": spec.version_selector,
        "changes": spec.changes,
        "window_start": spec.window.start,
        "window_end": spec.window.end,
        "priority": spec.priority,
        "reason": spec.reason,
        "supersedes": list(spec.supersedes),
        "break_glass": spec.break_glass,
        "freeze_exemption": new.freeze_exemption,
        "status": Status.QUEUED,
        "author": new.author,
        "author_role": new.author_role,
        "created_at": now,
        "updated_at": now,
        "idempotency_key": new.idempotency_key,
        "body_digest": new.body_digest,
        "next_attempt_at": now,
    }
    return int((await tx.execute(_ADD, values)).scalar_one())


async def by_idempotency_key(tx: AsyncConnection, author: str, key: str) -> tuple[Patch, str] | None:
    """Find the patch that an earlier request with this key made, with the digest of that request's body.

    Who may act in every tenant may have used one key in several, under one name: the first counts.
    """
    query = select(patch).where(patch.c.author == author, patch.c.idempotency_key == key)
    row = (await tx.execute(query.order_by(patch.c.id).limit(1))).one_or_none()
    return None if row is None else (_patch(row), row.body_digest)


async def get(tx: AsyncConnection, patch_id: int, *, lock: bool = False) -> Patch | None:
    """Read one patch; with `lock` nobody else changes it before this transaction ends."""
    query = select(patch).where(patch.c.id == patch_id)
    row = (await tx.execute(query.with_for_update() if lock else query)).one_or_none()
    return None if row is None else _patch(row)


async def claim(tx: AsyncConnection, patch_id: int) -> Patch | None:
    """Lock and read one patch, or return `None` at once when somebody else is at it."""
    query = select(patch).where(patch.c.id == patch_id).with_for_update(skip_locked=True)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else _patch(row)


async def page(tx: AsyncConnection, filters: Filters, before: int | None, limit: int) -> list[Patch]:
    """List patches, newest first, those with an id below `before`."""
    query = select(patch).order_by(patch.c.id.desc()).limit(limit)
    for name, value in filters._asdict().items():
        if value is not None:
            query = query.where(patch.c[name] == value)
    if before is not None:
        query = query.where(patch.c.id < before)
    return [_patch(row) for row in await tx.execute(query)]


async def set_status(
    tx: AsyncConnection, current: Patch, following: Status, reason: str, now: datetime, **more: Any
) -> Patch | None:
    """Change the status if it still is what `current` says. Returns `None` when somebody was faster."""
    values = {"status": following, "status_reason": reason, "updated_at": now, **more}
    guarded = (
        update(patch).where(patch.c.id == current.id, patch.c.status == current.status).values(values).returning(patch)
    )
    row = (await tx.execute(guarded)).one_or_none()
    return None if row is None else _patch(row)


async def claim_queued(tx: AsyncConnection, now: datetime, lease: timedelta) -> Patch | None:
    """Take one QUEUED patch whose time has come; for the length of the lease no other worker sees it.

    No lease is longer than this one, so an instant beyond it was set by a clock that is wrong, and counts as come.
    """
    come = or_(patch.c.next_attempt_at <= now, patch.c.next_attempt_at > now + lease)
    due = (
        select(patch.c.id)
        .where(patch.c.status == Status.QUEUED, come)
        .order_by(patch.c.next_attempt_at)
        .limit(1)
        .with_for_update(skip_locked=True)
        .scalar_subquery()
    )
    claim = update(patch).where(patch.c.id == due)
    row = (
        await tx.execute(claim.values(next_attempt_at=now + lease, attempts=patch.c.attempts + 1).returning(patch))
    ).one_or_none()
    return None if row is None else _patch(row)


async def retry_at(tx: AsyncConnection, current: Patch, reason: str, at: datetime) -> None:
    """Leave a QUEUED patch where it is, say why, and look again at `at`."""
    same = and_(patch.c.id == current.id, patch.c.status == Status.QUEUED)
    await tx.execute(update(patch).where(same).values(status_reason=reason, next_attempt_at=at))


async def next_approval_order(tx: AsyncConnection) -> int:
    """Draw the next place in the order of approvals."""
    return int((await tx.execute(select(approval_order.next_value()))).scalar_one())


async def due(tx: AsyncConnection, now: datetime) -> list[int]:
    """Return the ids of the patches whose window began or ended by `now` and whose status does not say so."""
    starts = and_(patch.c.status.in_(PLANNED), _begins <= now)
    ends = and_(patch.c.status.in_(STANDING), patch.c.window_end <= now)
    query = select(patch.c.id).where(or_(starts, ends)).order_by(patch.c.id).limit(100)
    return list((await tx.execute(query)).scalars())


async def next_instant(tx: AsyncConnection) -> datetime | None:
    """Return when the next window begins or ends, or `None` when none is ahead."""
    starts = select(func.min(_begins)).where(patch.c.status.in_(PLANNED))
    ends = select(func.min(patch.c.window_end)).where(patch.c.status.in_(STANDING))
    query = select(func.least(starts.scalar_subquery(), ends.scalar_subquery()))
    instant: datetime | None = (await tx.execute(query)).scalar_one()
    return instant


async def moving(tx: AsyncConnection) -> list[int]:
    """Return the ids of the patches whose next step depends on what the instances report."""
    unfinished = patch.c.status.in_((Status.ROLLING_OUT, Status.HALTED, Status.REVERTING))
    broken = exists().where(
        instance.c.tenant == patch.c.tenant,
        instance.c.service == patch.c.service,
        instance.c.gone_at.is_(None),
        instance.c.failed.contains(func.jsonb_build_array(func.jsonb_build_object("patch_id", patch.c.id))),
    )
    query = select(patch.c.id).where(or_(unfinished, and_(patch.c.status == Status.APPLIED, broken)))
    return list((await tx.execute(query.order_by(patch.c.id))).scalars())


async def to_carry(tx: AsyncConnection, tenant: str) -> list[Patch]:
    """Return the patches that the tenant's streams carry now or will at their start."""
    query = select(patch).where(patch.c.tenant == tenant, patch.c.status.in_(IN_STREAM | PLANNED))
    return [_patch(row) for row in await tx.execute(query)]


async def standing(tx: AsyncConnection, tenant: str, service: str | None = None) -> list[Patch]:
    """Return the tenant's patches that are in force or on their way there, oldest first."""
    query = select(patch).where(patch.c.tenant == tenant, patch.c.status.in_(STANDING)).order_by(patch.c.id)
    if service is not None:
        query = query.where(patch.c.service == service)
    return [_patch(row) for row in await tx.execute(query)]


async def decided(tx: AsyncConnection) -> list[Patch]:
    """Return the patches in scope that carry GOV's decision and are in force or on their way there, oldest first."""
    query = select(patch).where(patch.c.status.in_(STANDING), patch.c.decision.is_not(None))
    return [_patch(row) for row in await tx.execute(query.order_by(patch.c.id))]


async def counting(tx: AsyncConnection, tenant: str, window: Window) -> list[Patch]:
    """Return the standing patches that count for the tenant's quota inside a window, oldest first.

    Those are the ones that ask for resources, and the ones that end others by superseding them.
    """
    asks = patch.c.changes.has_any(array(list(RESOURCE_KNOBS)))
    query = select(patch).where(
        patch.c.tenant == tenant,
        patch.c.status.in_(STANDING),
        or_(asks, func.cardinality(patch.c.supersedes) > 0),
        or_(patch.c.window_end.is_(None), patch.c.window_end > window.start),
    )
    if window.end is not None:
        query = query.where(patch.c.window_start < window.end)
    return [_patch(row) for row in await tx.execute(query.order_by(patch.c.id))]


_RIVALS = (
    select(patch)
    .where(
        patch.c.tenant == bindparam("tenant"),
        patch.c.service == bindparam("service"),
        patch.c.status.in_(STANDING),
        patch.c.priority == bindparam("priority"),
        or_(patch.c.window_end.is_(None), patch.c.window_end > bindparam("start")),
        patch.c.changes.has_any(bindparam("names", type_=ARRAY(Text))),
    )
    .order_by(patch.c.id)
)


async def rivals(tx: AsyncConnection, spec: PatchSpec) -> list[Patch]:
    """Return the patches that may be in a new one's way, oldest first; the caller tells which really are.

    They are of its priority, are not over before it starts, and name something that it names at the top.
    """
    asked = {"tenant": spec.tenant, "service": spec.service, "priority": spec.priority, "start": spec.window.start}
    return [_patch(row) for row in await tx.execute(_RIVALS, {**asked, "names": list(spec.changes)})]


async def lock_all(tx: AsyncConnection, patch_ids: Sequence[int]) -> list[Patch]:
    """Lock and read patches, the newest first, as everybody does who locks several: no two wait for each other."""
    query = select(patch).where(patch.c.id.in_(patch_ids)).order_by(patch.c.id.desc()).with_for_update()
    return [_patch(row) for row in await tx.execute(query)]


async def several(tx: AsyncConnection, patch_ids: Sequence[int]) -> list[Patch]:
    """Read patches, oldest first."""
    query = select(patch).where(patch.c.id.in_(patch_ids)).order_by(patch.c.id)
    return [_patch(row) for row in await tx.execute(query)]


_LOCK = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("key", type_=Text), 0)))


async def lock_service(tx: AsyncConnection, tenant: str, service: str) -> None:
    """Become the only one that submits for this service until the transaction ends."""
    await tx.execute(_LOCK, {"key": f"submit:{tenant}:{service}"})


async def in_stream(tx: AsyncConnection, tenant: str, service: str) -> list[Patch]:
    """Return the patches the stream carries now, in the order they were approved."""
    query = select(patch).where(patch.c.tenant == tenant, patch.c.service == service, patch.c.status.in_(IN_STREAM))
    return [_patch(row) for row in await tx.execute(query.order_by(patch.c.approval_order))]


def _patch(row: Row[Any]) -> Patch:
    return Patch(
        id=row.id,
        spec=PatchSpec(
            service=row.service,
            version_selector=row.version_selector,
            changes=row.changes,
            tenant=row.tenant,
            window=Window(row.window_start, row.window_end),
            priority=row.priority,
            reason=row.reason,
            supersedes=tuple(row.supersedes),
            break_glass=row.break_glass,
        ),
        status=Status(row.status),
        status_reason=row.status_reason,
        author=row.author,
        author_role=row.author_role,
        created_at=row.created_at,
        updated_at=row.updated_at,
        attempts=row.attempts,
        approval_order=row.approval_order,
        decision=row.decision,
        decision_summary=row.decision_summary,
        rollout_started_at=row.rollout_started_at,
        ending=None if row.ending is None else Status(row.ending),
        obligations=tuple(row.obligations),
        freeze_exemption=row.freeze_exemption,
        held_until=row.held_until,
        superseded_by=row.superseded_by,
    )
