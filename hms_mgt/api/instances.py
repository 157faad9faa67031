"""`/api/instance`: the fleet as its sidecars report it."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from hms_mgt.api import views
from hms_mgt.api.auth import PartsOf, Reader
from hms_mgt.api.problems import responses
from hms_mgt.domain import ids
from hms_mgt.store import instances
from hms_mgt.store.database import EVERY_TENANT

router = APIRouter(prefix="/api/instance", tags=["instance"])
_SHOW_GONE_FOR = timedelta(minutes=5)


@router.get("", responses=responses(401, 422, 503))
async def list_instances(
    parts: PartsOf,
    actor: Reader,
    tenant: Annotated[str | None, Query(pattern=ids.PATTERN)] = None,
    service: Annotated[str | None, Query(pattern=ids.PATTERN)] = None,
) -> views.Fleet:
    """List the instances: LIVE, STALE after 30 s of silence, GONE for a few minutes after they left."""
    now = parts.clock.now()
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await instances.fleet(tx, tenant, service, now - _SHOW_GONE_FOR)
    return views.Fleet(items=[views.instance_view(one, now) for one in found])
