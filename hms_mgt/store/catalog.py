"""Tenants, their quotas, and the deployments of services that run for them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.quota import Quota
from hms_mgt.store.tables import deployment, deployment_base, quota, tenant
from hms_mgt.store.tables import platform_cap as cap


async def add_tenant(tx: AsyncConnection, name: str, now: datetime) -> bool:
    """Register a tenant. Returns False when it was known."""
    added = upsert(tenant).values(id=name, created_at=now).on_conflict_do_nothing().returning(tenant.c.id)
    return (await tx.execute(added)).one_or_none() is not None


async def tenants(tx: AsyncConnection) -> list[str]:
    """Return every tenant's id."""
    return list((await tx.execute(select(tenant.c.id).order_by(tenant.c.id))).scalars())


async def tenant_exists(tx: AsyncConnection, name: str) -> bool:
    """Tell whether the tenant is registered."""
    return (await tx.execute(select(tenant.c.id).where(tenant.c.id == name))).one_or_none() is not None


async def put_quota(tx: AsyncConnection, name: str, bounds: Quota) -> None:
    """Set a tenant's quota."""
    statement = upsert(quota).values(tenant=name, **bounds.bounds())
    await tx.execute(statement.on_conflict_do_update(index_elements=["tenant"], set_=bounds.bounds()))


async def get_quota(tx: AsyncConnection, name: str, *, lock: bool = True) -> Quota:
    """Return a tenant's quota; locked, so that two patches cannot both take what is left."""
    query = select(quota).where(quota.c.tenant == name)
    return _bounds((await tx.execute(query.with_for_update() if lock else query)).one_or_none())


async def put_platform_cap(tx: AsyncConnection, bounds: Quota) -> None:
    """Set what no tenant's quota goes beyond."""
    statement = upsert(cap).values(id=1, **bounds.bounds())
    await tx.execute(statement.on_conflict_do_update(index_elements=["id"], set_=bounds.bounds()))


async def platform_cap(tx: AsyncConnection, *, lock: bool = False) -> Quota:
    """Return what no tenant's quota goes beyond; with `lock` nobody else changes it before this transaction ends."""
    query = select(cap)
    if lock:
        # There has to be a row to lock.
        await tx.execute(upsert(cap).values(id=1).on_conflict_do_nothing())
        query = query.with_for_update()
    return _bounds((await tx.execute(query)).one_or_none())


async def put_deployment(tx: AsyncConnection, one: Deployment, now: datetime) -> None:
    """Register a deployment, or replace its base. Every base it had is kept in its history."""
    base: Mapping[str, Any] = {"conf": one.conf, "base": one.base, "orchestrator": one.orchestrator}
    key = {"tenant": one.tenant, "service": one.service, "version": one.version}
    statement = upsert(deployment).values(**key, **base, created_at=now)
    await tx.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(base)))
    # The row above stays locked, so that no base comes between the last one and this.
    if await _last_conf(tx, key) != one.conf:
        await tx.execute(insert(deployment_base), {**key, "at": now, "conf": one.conf, "base": one.base})


async def _last_conf(tx: AsyncConnection, key: Mapping[str, str]) -> str | None:
    mine = [deployment_base.c[name] == value for name, value in key.items()]
    query = select(deployment_base.c.conf).where(*mine).order_by(deployment_base.c.id.desc()).limit(1)
    return (await tx.execute(query)).scalar_one_or_none()


async def deployments(tx: AsyncConnection, name: str | None = None, service: str | None = None) -> list[Deployment]:
    """Return the deployments in scope, of one tenant or service when asked."""
    query = select(deployment).order_by(deployment.c.tenant, deployment.c.service, deployment.c.version)
    if name is not None:
        query = query.where(deployment.c.tenant == name)
    if service is not None:
        query = query.where(deployment.c.service == service)
    return [_deployment(row) for row in await tx.execute(query)]


async def save_scale(tx: AsyncConnection, one: Deployment, wanted: int, running: int) -> bool:
    """Store what the orchestrator was asked for and what runs. Returns whether that is news."""
    if (one.wanted, one.running) == (wanted, running):
        return False
    mine = (
        (deployment.c.tenant == one.tenant)
        & (deployment.c.service == one.service)
        & (deployment.c.version == one.version)
    )
    await tx.execute(update(deployment).where(mine).values(wanted=wanted, running=running))
    return True


async def lock_scaling(tx: AsyncConnection, one: Deployment) -> bool:
    """Become the only one that scales this deployment for this transaction; False when another is.

    The transaction may then stand idle for as long as starting and stopping takes.
    """
    await tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
    key = func.hashtextextended(f"scale:{one.tenant}:{one.service}:{one.version}", 0)
    return bool((await tx.execute(select(func.pg_try_advisory_xact_lock(key)))).scalar_one())


def _bounds(row: Row[Any] | None) -> Quota:
    return Quota() if row is None else Quota(row.replicas, row.cpu, row.memory, row.knobs)


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(
        row.tenant, row.service, row.version, row.conf, row.base, row.orchestrator, row.running, row.wanted
    )
