"""Makes freezes and lifts them. What a freeze does to patches is `begin`'s business."""

from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.freeze import PLATFORM, Freeze, NewFreeze
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import Conflict, Invalid, NotFound, Problem
from hms_mgt.store import catalog, duties, freezes, trail
from hms_mgt.store.database import EVERY_TENANT, Database


async def freeze(db: Database, actor: Actor, new: NewFreeze, now: datetime) -> Freeze:
    """Freeze a tenant, or the whole platform: no rollout begins there meanwhile. What is in force is not touched.

    Raises:
        Forbidden: the role may not, or the tenant is not the actor's.
        Invalid: the tenant is unknown.
    """
    access.require(actor, Permission.GOVERN)
    if new.tenant == PLATFORM:
        access.require_platform(actor)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        if new.tenant != PLATFORM:
            if not await catalog.tenant_exists(tx, new.tenant):
                raise Invalid.of([Problem("/tenant", f"unknown tenant {new.tenant}")])
            access.require_tenant(actor, new.tenant)
        made = await freezes.add(tx, new, actor.name, now)
        act = trail.act_of(actor, _owner(made), "freeze.created", f"freeze/{made.id}", after=_shown(made))
        await trail.audit_act(tx, act, now)
        await duties.wake(tx)
    return made


class Lifting(NamedTuple):
    """A wish to lift a freeze before its end, and why."""

    freeze_id: int
    reason: str


async def lift(db: Database, actor: Actor, asked: Lifting, now: datetime) -> Freeze:
    """Lift a freeze: the patches it held begin, unless another one holds them. Its record stays.

    Raises:
        Forbidden: the role may not, or the freeze is the platform's and the actor is bound to a tenant.
        NotFound: there is no such freeze in the actor's scope.
        Conflict: it was lifted before, or is over.
    """
    access.require(actor, Permission.GOVERN)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await freezes.get(tx, asked.freeze_id, lock=True)
        if found is None:
            raise NotFound(f"there is no freeze {asked.freeze_id}")
        if found.tenant == PLATFORM:
            access.require_platform(actor)
        _check_standing(found, now)
        lifted = await freezes.lift(tx, found, actor.name, now)
        fields = {"before": _shown(found), "after": _shown(lifted), "detail": {"reason": asked.reason}}
        act = trail.act_of(actor, _owner(found), "freeze.lifted", f"freeze/{found.id}", **fields)
        await trail.audit_act(tx, act, now)
        await duties.wake(tx)
    return lifted


def _check_standing(found: Freeze, now: datetime) -> None:
    if found.lifted_at is not None:
        raise Conflict(f"freeze {found.id} was lifted by {found.lifted_by} at {rfc3339(found.lifted_at)} already")
    if found.ends_at <= now:
        raise Conflict(f"freeze {found.id} was over at {rfc3339(found.ends_at)}")


def _owner(found: Freeze) -> str | None:
    return None if found.tenant == PLATFORM else found.tenant


def _shown(found: Freeze) -> dict[str, Any]:
    instants = {
        name: value and rfc3339(value) for name, value in found._asdict().items() if isinstance(value, datetime)
    }
    return {**found._asdict(), "except_roles": list(found.except_roles), **instants}
