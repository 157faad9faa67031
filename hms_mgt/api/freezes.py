"""`/api/freeze`: times in which no rollout begins, for one tenant or for all."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt import validator
from hms_mgt.api import body, cursor, schema
from hms_mgt.api.auth import Caller, PartsOf, Reader
from hms_mgt.api.problems import responses
from hms_mgt.api.schema import END_BODY, WINDOW
from hms_mgt.domain import access, ids
from hms_mgt.domain.access import Permission, Role
from hms_mgt.domain.freeze import PLATFORM, Freeze, read_freeze
from hms_mgt.domain.line import LONGEST
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import NotFound
from hms_mgt.store import freezes
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases import freeze

router = APIRouter(prefix="/api/freeze", tags=["freeze"])
FreezeId = Annotated[int, Path(ge=1, le=cursor.BIGGEST_ID, description="The freeze's id")]
_EXAMPLE = {
    "tenant": "IACB",
    "start": "2026-12-18T18:00Z",
    "end": "2027-01-04T06:00Z",
    "reason": "nobody is at work over the holidays",
}
_SHOWN: dict[str, Any] = {
    "freeze_id": 3,
    "tenant": "IACB",
    "start": "2026-12-18T18:00:00Z",
    "end": "2027-01-04T06:00:00Z",
    "reason": "nobody is at work over the holidays",
    "except_roles": [],
    "created_by": "ops",
    "created_at": "2026-11-23T12:00:00Z",
    "lifted_at": None,
    "lifted_by": None,
}
_DOCUMENT: dict[str, Any] = {
    "type": "object",
    "title": "Freeze",
    "required": ["reason"],
    "additionalProperties": False,
    "properties": {
        "tenant": {"type": "string", "pattern": ids.PATTERN, "description": "Left out: the whole platform"},
        **WINDOW["properties"],
        "reason": {"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "One line"},
        "except_roles": {
            "type": "array",
            "items": {"type": "string", "enum": [str(role) for role in Role]},
            "default": [],
            "description": "Patches of authors in these roles are not held, and that is put on record",
        },
    },
    "examples": [_EXAMPLE],
}


class FreezeView(BaseModel):
    """A freeze: half-open, UTC. Lifted ones are kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SHOWN]})

    freeze_id: int
    tenant: str | None = Field(description="null: the whole platform")
    start: str
    end: str
    reason: str
    except_roles: list[str]
    created_by: str
    created_at: str
    lifted_at: str | None
    lifted_by: str | None


class FreezePage(BaseModel):
    """Freezes, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_SHOWN], "next_cursor": None}]})

    items: list[FreezeView]
    next_cursor: str | None


class Listing(BaseModel):
    """What a listing is narrowed to, and where its page begins."""

    tenant: str | None = Field(
        default=None, pattern=ids.PATTERN, description="The tenant's own freezes and the platform's"
    )
    all: bool = Field(default=False, description="Also those that are over and those that were lifted")
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=64, description="`next_cursor` of the page before")


@router.post(
    "", status_code=201, responses=responses(401, 403, 413, 415, 422, 429, 503), openapi_extra=schema.body(_DOCUMENT)
)
async def post_freeze(request: Request, response: Response, parts: PartsOf, actor: Caller) -> FreezeView:
    """Freeze a tenant, or the whole platform: no rollout begins meanwhile. What ends or goes back is never held."""
    # The role is checked before a byte of the body is looked at, as with a patch.
    access.require(actor, Permission.GOVERN)
    now = parts.clock.now()
    made = await freeze.freeze(parts.db, actor, read_freeze((await body.read(request)).document, now), now)
    response.headers["Location"] = f"/api/freeze/{made.id}"
    return _shown(made)


@router.get("", responses=responses(401, 422, 429, 503))
async def list_freezes(
    request: Request, response: Response, parts: PartsOf, actor: Reader, asked: Annotated[Listing, Query()]
) -> FreezePage:
    """List freezes, newest first: those that are on or to come, or all there ever were."""
    filters = freezes.Filters(asked.tenant, None if asked.all else parts.clock.now())
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await freezes.page(tx, filters, cursor.read(asked.cursor), asked.limit + 1)
    more = cursor.write(found[asked.limit - 1].id) if len(found) > asked.limit else None
    cursor.link(request, response, more)
    return FreezePage(items=[_shown(one) for one in found[: asked.limit]], next_cursor=more)


@router.get("/{freeze_id}", responses=responses(401, 404, 422, 429, 503))
async def get_freeze(parts: PartsOf, actor: Reader, freeze_id: FreezeId) -> FreezeView:
    """Show one freeze."""
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await freezes.get(tx, freeze_id)
    if found is None:
        raise NotFound(f"there is no freeze {freeze_id}")
    return _shown(found)


@router.post(
    "/{freeze_id}/lift", responses=responses(401, 403, 404, 409, 413, 415, 422, 429, 503), openapi_extra=END_BODY
)
async def lift_freeze(request: Request, parts: PartsOf, actor: Caller, freeze_id: FreezeId) -> FreezeView:
    """Lift a freeze before its end: what it held begins. Nothing of it is deleted."""
    access.require(actor, Permission.GOVERN)
    asked = freeze.Lifting(freeze_id, validator.ending(await body.read_if_any(request)))
    return _shown(await freeze.lift(parts.db, actor, asked, parts.clock.now()))


def _shown(one: Freeze) -> FreezeView:
    return FreezeView(
        freeze_id=one.id,
        tenant=None if one.tenant == PLATFORM else one.tenant,
        start=rfc3339(one.starts_at),
        end=rfc3339(one.ends_at),
        reason=one.reason,
        except_roles=list(one.except_roles),
        created_by=one.created_by,
        created_at=rfc3339(one.created_at),
        lifted_at=None if one.lifted_at is None else rfc3339(one.lifted_at),
        lifted_by=one.lifted_by,
    )
