"""`/livez` touches nothing; `/readyz` asks the database and the broker."""

from fastapi import APIRouter
from pydantic import BaseModel

from hms_mgt.api.auth import PartsOf
from hms_mgt.api.problems import responses

router = APIRouter(tags=["health"])


class Health(BaseModel):
    """That it is well."""

    status: str = "ok"


@router.get("/livez")
async def live() -> Health:
    """Tell that the process runs."""
    return Health()


@router.get("/readyz", responses=responses(503))
async def ready(parts: PartsOf) -> Health:
    """Tell whether the database and Redis answer."""
    await parts.db.ping()
    await parts.bus.ping()
    return Health()
