"""What was, at an instant: bases, revisions, and the patches with the status they had then."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import and_, not_, select, true
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import plan
from hms_mgt.domain.patch import IN_STREAM, PLANNED, TERMINAL, Status
from hms_mgt.domain.plan import Known
from hms_mgt.store import freezes, patches
from hms_mgt.store.tables import deployment, deployment_base, instance, patch, patch_event, stream_revision


class Base(NamedTuple):
    """A base as it was registered, under all patches."""

    registered_at: datetime
    conf: str
    document: Mapping[str, Any]


async def base_at(tx: AsyncConnection, tenant: str, service: str, version: str, at: datetime) -> Base | None:
    """Return the base that a deployment had, or `None` where it was not registered yet."""
    held = deployment_base.c
    query = (
        select(held.at, held.conf, held.base)
        .where(held.tenant == tenant, held.service == service, held.version == version, held.at <= at)
        .order_by(held.id.desc())
        .limit(1)
    )
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else Base(row.at, row.conf, row.base)


async def revision_at(tx: AsyncConnection, tenant: str, service: str, at: datetime) -> int | None:
    """Return the stream's revision at an instant, or `None` where it had none yet."""
    held = stream_revision.c
    query = (
        select(held.revision)
        .where(held.tenant == tenant, held.service == service, held.at <= at)
        .order_by(held.revision.desc())
        .limit(1)
    )
    return (await tx.execute(query)).scalar_one_or_none()


async def patches_at(tx: AsyncConnection, tenant: str, service: str, at: datetime) -> list[Known]:
    """Return the patches that were in the stream or planned at an instant.

    What had ended by then is left out before its events are looked at, so that a long history costs nothing.
    """
    then = (
        select(patch_event.c.to_status)
        .where(patch_event.c.patch_id == patch.c.id, patch_event.c.at <= at)
        .order_by(patch_event.c.id.desc())
        .limit(1)
        .lateral("then")
    )
    ended = and_(patch.c.status.in_(TERMINAL), patch.c.updated_at <= at)
    query = (
        select(patch.c.id, then.c.to_status)
        .join(then, true())
        .where(patch.c.tenant == tenant, patch.c.service == service, patch.c.created_at <= at, not_(ended))
        .where(then.c.to_status.in_(IN_STREAM | PLANNED))
    )
    statuses = {row.id: Status(row.to_status) for row in await tx.execute(query)}
    frozen = await freezes.known_at(tx, tenant, at)
    return [plan.as_known(one, statuses[one.id], frozen, at) for one in await patches.several(tx, list(statuses))]


async def versions(tx: AsyncConnection, tenant: str, service: str) -> list[str]:
    """Return the versions of a service that are registered for a tenant."""
    held = deployment.c
    query = select(held.version).where(held.tenant == tenant, held.service == service).order_by(held.version)
    return list((await tx.execute(query)).scalars())


async def instance_version(tx: AsyncConnection, tenant: str, service: str, name: str) -> str | None:
    """Return the version that an instance of the service last reported, or `None` where there is no such instance."""
    held = instance.c
    query = select(held.version).where(held.tenant == tenant, held.service == service, held.id == name)
    return (await tx.execute(query)).scalar_one_or_none()
