"""What a new patch meets, read in one statement: a submission asks for all of this every time."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, DateTime, Table, Text, bindparam, cast, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.freeze import PLATFORM
from hms_mgt.domain.quota import Quota
from hms_mgt.store.tables import deployment, freeze, instance, platform_cap, quota, tenant


class Surroundings(NamedTuple):
    """What there is of a tenant and of one of its services."""

    tenant_known: bool
    # Of the service: those that are catalogued, and those that its instances run.
    catalogued: frozenset[str]
    live: frozenset[str]
    bounds: Quota
    cap: Quota
    # Whether any freeze concerns the tenant, now or later.
    frozen: bool


def _whole(table: Table) -> ColumnElement[Any]:
    columns = (table.c.replicas, table.c.cpu, table.c.memory, table.c.knobs)
    return func.jsonb_build_object(*(part for column in columns for part in (cast(column.name, Text), column)))


_NAME = bindparam("name", type_=Text)
_SERVICE = bindparam("service", type_=Text)
_NOW = bindparam("now", type_=DateTime(timezone=True))
_OF_SERVICE = deployment.c.tenant == _NAME, deployment.c.service == _SERVICE
_RUNNING = instance.c.tenant == _NAME, instance.c.service == _SERVICE, instance.c.gone_at.is_(None)
_FREEZES = freeze.c.tenant.in_((_NAME, PLATFORM)), freeze.c.lifted_at.is_(None), freeze.c.ends_at > _NOW
# Made once: it is large, and is asked for with every submission.
_AROUND = select(
    select(tenant.c.id).where(tenant.c.id == _NAME).exists().label("known"),
    select(func.array_agg(deployment.c.version)).where(*_OF_SERVICE).scalar_subquery().label("catalogued"),
    select(func.array_agg(instance.c.version.distinct())).where(*_RUNNING).scalar_subquery().label("live"),
    select(_whole(quota)).where(quota.c.tenant == _NAME).scalar_subquery().label("quota"),
    select(_whole(platform_cap)).scalar_subquery().label("cap"),
    select(freeze.c.id).where(*_FREEZES).exists().label("frozen"),
)


async def around(tx: AsyncConnection, name: str, service: str, now: datetime) -> Surroundings:
    """Read what a patch for this service would meet. Nothing is locked."""
    row = (await tx.execute(_AROUND, {"name": name, "service": service, "now": now})).one()
    return Surroundings(
        tenant_known=row.known,
        catalogued=frozenset(row.catalogued or ()),
        live=frozenset(row.live or ()),
        bounds=_bounds(row.quota),
        cap=_bounds(row.cap),
        frozen=row.frozen,
    )


def _bounds(found: dict[str, Any] | None) -> Quota:
    return Quota() if found is None else Quota(**found)
