"""`/api/stream`: the signed snapshots, for sidecars that cannot reach Redis."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from hms_mgt.api.auth import PartsOf, Reader
from hms_mgt.api.problems import responses
from hms_mgt.domain import ids
from hms_mgt.errors import NotFound
from hms_mgt.store import streams
from hms_mgt.store.database import EVERY_TENANT

router = APIRouter(prefix="/api/stream", tags=["stream"])
Id = Annotated[str, Path(pattern=ids.PATTERN)]


@router.get("/{tenant}/{service}/snapshot", responses=responses(401, 404, 422, 503))
async def get_snapshot(parts: PartsOf, actor: Reader, tenant: Id, service: Id) -> Response:
    """Return the stream's head as one signed envelope, the same bytes that Redis holds."""
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        head = await streams.head(tx, tenant, service)
    if head is None:
        raise NotFound(f"there is no stream for {tenant}/{service}")
    return Response(head.snapshot, media_type="application/json")
