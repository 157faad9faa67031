"""Sets what a tenant may use, and what no tenant's quota goes beyond. What is in force already stays in force."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.profile import Totals
from hms_mgt.domain.quota import Quota, beyond, usage
from hms_mgt.domain.window import Window
from hms_mgt.errors import Invalid, NotFound, PreconditionFailed
from hms_mgt.store import catalog, patches, trail
from hms_mgt.store.database import EVERY_TENANT, Database


class Change(NamedTuple):
    """New bounds, whole. `expected` are the versions they may replace; None is whatever there is."""

    bounds: Quota
    expected: frozenset[str] | None = None


class Holding(NamedTuple):
    """A tenant's quota, the platform cap above it, and what the tenant's deployments ask for at this moment."""

    tenant: str
    quota: Quota
    cap: Quota
    used: Totals


async def see_quota(db: Database, actor: Actor, tenant: str, now: datetime) -> Holding:
    """Return a tenant's quota and what is used of it.

    Raises:
        NotFound: there is no such tenant in the actor's scope.
    """
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        if actor.tenant not in {None, tenant}:
            raise _unknown(tenant)
        await _check_tenant(tx, tenant)
        return await _holding(tx, tenant, await catalog.get_quota(tx, tenant, lock=False), now)


async def set_quota(db: Database, actor: Actor, tenant: str, change: Change, now: datetime) -> Holding:
    """Replace a tenant's quota. It may be below what is used: patches in force stay, and none may add to it.

    Raises:
        Forbidden: the role may not set quotas, or the tenant is not the actor's.
        NotFound: the tenant is unknown.
        PreconditionFailed: the quota is not the one that was to be replaced.
        Invalid: a bound is beyond the platform cap.
    """
    access.require(actor, Permission.GOVERN)
    access.require_tenant(actor, tenant)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        await _check_tenant(tx, tenant)
        before = await catalog.get_quota(tx, tenant)
        _check_version(before, change)
        await check_cap(tx, change.bounds)
        if change.bounds.version != before.version:
            await catalog.put_quota(tx, tenant, change.bounds)
            fields = {"before": before.bounds(), "after": change.bounds.bounds()}
            act = trail.act_of(actor, tenant, "quota.changed", f"tenant/{tenant}", **fields)
            await trail.audit_act(tx, act, now)
        return await _holding(tx, tenant, change.bounds, now)


async def check_cap(tx: AsyncConnection, bounds: Quota) -> None:
    """Hold a tenant's quota to the platform cap.

    Raises:
        Invalid: a bound is beyond it.
    """
    found = beyond(bounds, await catalog.platform_cap(tx))
    if found:
        raise Invalid.of(found)


async def see_cap(db: Database, actor: Actor) -> Quota:
    """Return the platform cap: it binds every tenant, so each may see it."""
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        return await catalog.platform_cap(tx)


async def set_cap(db: Database, actor: Actor, change: Change, now: datetime) -> Quota:
    """Replace the platform cap. Quotas that are beyond it stay as they are, and the lower bound counts.

    Raises:
        Forbidden: the role may not, or the actor is bound to one tenant.
        PreconditionFailed: the cap is not the one that was to be replaced.
    """
    access.require_platform(actor)
    async with db.transaction(EVERY_TENANT) as tx:
        before = await catalog.platform_cap(tx, lock=True)
        _check_version(before, change)
        if change.bounds.version != before.version:
            await catalog.put_platform_cap(tx, change.bounds)
            fields = {"before": before.bounds(), "after": change.bounds.bounds()}
            act = trail.act_of(actor, None, "platform_cap.changed", "platform/cap", **fields)
            await trail.audit_act(tx, act, now)
        return change.bounds


async def _check_tenant(tx: AsyncConnection, tenant: str) -> None:
    if not await catalog.tenant_exists(tx, tenant):
        raise _unknown(tenant)


def _unknown(tenant: str) -> NotFound:
    return NotFound(f"unknown tenant {tenant}")


def _check_version(present: Quota, change: Change) -> None:
    if change.expected is not None and present.version not in change.expected:
        words = "this was changed meanwhile: read it again, and send If-Match with its ETag"
        raise PreconditionFailed(words, facts={"etag": f'"{present.version}"'})


async def _holding(tx: AsyncConnection, tenant: str, quota: Quota, now: datetime) -> Holding:
    deployments = await catalog.deployments(tx, tenant)
    carried = await patches.to_carry(tx, tenant)
    (_, used), *_ = usage(deployments, carried, Window(now, None))
    return Holding(tenant, quota, await catalog.platform_cap(tx), used)
