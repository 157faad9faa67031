"""Tenants, their quotas, and the deployments of services that run for them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.quota import Quota
from hms_mgt.store.tables import deployment, quota, tenant


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
    statement = upsert(quota).values(tenant=name, **bounds._asdict())
    await tx.execute(statement.on_conflict_do_update(index_elements=["tenant"], set_=bounds._asdict()))


async def get_quota(tx: AsyncConnection, name: str) -> Quota:
    """Return a tenant's quota, locked, so that two patches cannot both take what is left."""
    query = select(quota).where(quota.c.tenant == name).with_for_update()
    row = (await tx.execute(query)).one_or_none()
    return Quota() if row is None else Quota(replicas=row.replicas)


async def put_deployment(tx: AsyncConnection, one: Deployment, now: datetime) -> None:
    """Register a deployment, or replace its base."""
    base: Mapping[str, Any] = {"conf": one.conf, "base": one.base, "orchestrator": one.orchestrator}
    key = {"tenant": one.tenant, "service": one.service, "version": one.version}
    statement = upsert(deployment).values(**key, **base, created_at=now)
    await tx.execute(statement.on_conflict_do_update(index_elements=list(key), set_=dict(base)))


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


def _deployment(row: Row[Any]) -> Deployment:
    return Deployment(
        row.tenant, row.service, row.version, row.conf, row.base, row.orchestrator, row.running, row.wanted
    )
