"""`/api/tenant`: what a tenant may use."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt.api import bounds
from hms_mgt.api.auth import Caller, PartsOf, Reader
from hms_mgt.api.bounds import BoundsView
from hms_mgt.api.etag import HEADER, IfMatch, etag, expected
from hms_mgt.api.problems import responses
from hms_mgt.domain import access, ids
from hms_mgt.domain.access import Permission
from hms_mgt.usecases import govern
from hms_mgt.usecases.govern import Change, Holding

router = APIRouter(prefix="/api/tenant", tags=["tenant"])
TenantId = Annotated[str, Path(pattern=ids.PATTERN, description="The tenant's id", examples=["IACB"])]


class UsageView(BaseModel):
    """What all of a tenant's deployments ask for together, at this moment."""

    replicas: int
    cpu: str = Field(description="Of those deployments that say")
    memory: str = Field(description="Of those deployments that say")


class QuotaView(BoundsView):
    """A tenant's quota, what is above it, and what is used."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "tenant": "IACB",
                    **bounds.EXAMPLE,
                    "platform": {"replicas": 100, "cpu": None, "memory": None, "knobs": {"rate_limit_rps": 1000}},
                    "usage": {"replicas": 6, "cpu": "3", "memory": "6Gi"},
                }
            ]
        }
    )

    tenant: str
    platform: BoundsView = Field(description="The platform cap: of each bound the lower one counts")
    usage: UsageView


@router.get("/{tenant}/quota", responses={200: HEADER, **responses(401, 404, 422, 429, 503)})
async def get_quota(response: Response, parts: PartsOf, actor: Reader, tenant: TenantId) -> QuotaView:
    """Show a tenant's quota, the platform cap above it, and what is used now."""
    return _shown(response, await govern.see_quota(parts.db, actor, tenant, parts.clock.now()))


@router.put(
    "/{tenant}/quota",
    responses={200: HEADER, **responses(401, 403, 404, 412, 413, 415, 422, 429, 503)},
    openapi_extra=bounds.BODY,
)
async def put_quota(  # noqa: PLR0913, PLR0917 - what a request is made of
    request: Request, response: Response, parts: PartsOf, actor: Caller, tenant: TenantId, if_match: IfMatch = None
) -> QuotaView:
    """Replace a tenant's quota, as JSON or YAML. What is in force stays, even where that is more."""
    # The role is checked before a byte of the body is looked at, as with a patch.
    access.require(actor, Permission.GOVERN)
    access.require_tenant(actor, tenant)
    change = Change(await bounds.read(request), expected(if_match))
    return _shown(response, await govern.set_quota(parts.db, actor, tenant, change, parts.clock.now()))


def _shown(response: Response, holding: Holding) -> QuotaView:
    response.headers["ETag"] = etag(holding.quota.version)
    return QuotaView(
        tenant=holding.tenant,
        **holding.quota.bounds(),
        platform=bounds.shown(holding.cap),
        usage=UsageView.model_validate(holding.used.shown()),
    )
