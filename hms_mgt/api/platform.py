"""`/api/platform`: what binds every tenant."""

from fastapi import APIRouter, Request, Response

from hms_mgt.api import bounds
from hms_mgt.api.auth import Caller, PartsOf, Reader
from hms_mgt.api.bounds import BoundsView
from hms_mgt.api.etag import HEADER, IfMatch, etag, expected
from hms_mgt.api.problems import responses
from hms_mgt.domain import access
from hms_mgt.domain.quota import Quota
from hms_mgt.usecases import govern
from hms_mgt.usecases.govern import Change

router = APIRouter(prefix="/api/platform", tags=["platform"])


@router.get("/cap", responses={200: HEADER, **responses(401, 429, 503)})
async def get_cap(response: Response, parts: PartsOf, actor: Reader) -> BoundsView:
    """Show the platform cap, beyond which no tenant's quota goes."""
    return _shown(response, await govern.see_cap(parts.db, actor))


@router.put(
    "/cap", responses={200: HEADER, **responses(401, 403, 412, 413, 415, 422, 429, 503)}, openapi_extra=bounds.BODY
)
async def put_cap(
    request: Request, response: Response, parts: PartsOf, actor: Caller, if_match: IfMatch = None
) -> BoundsView:
    """Replace the platform cap, as JSON or YAML. Quotas beyond it stay as they are, and the lower bound counts."""
    # The role is checked before a byte of the body is looked at, as with a patch.
    access.require_platform(actor)
    change = Change(await bounds.read(request), expected(if_match))
    return _shown(response, await govern.set_cap(parts.db, actor, change, parts.clock.now()))


def _shown(response: Response, cap: Quota) -> BoundsView:
    response.headers["ETag"] = etag(cap.version)
    return bounds.shown(cap)
