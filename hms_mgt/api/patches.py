"""`/api/patch`: submit, look, list, cancel, roll back."""

import base64
import binascii
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt import validator
from hms_mgt.api import body, views
from hms_mgt.api.auth import Caller, PartsOf, Reader
from hms_mgt.api.problems import responses
from hms_mgt.api.schema import END_BODY, PATCH_BODY
from hms_mgt.domain import access, ids, rollout
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import Patch, Status
from hms_mgt.errors import Invalid, NotFound, Problem
from hms_mgt.store import instances, patches, trail
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases import end
from hms_mgt.usecases.follow import look
from hms_mgt.usecases.submit import Submission, submit

router = APIRouter(prefix="/api/patch", tags=["patch"])
_END_PROBLEMS = responses(401, 403, 404, 409, 413, 415, 422, 503)
_BIGGEST_ID = 2**63 - 1
PatchId = Annotated[int, Path(ge=1, le=_BIGGEST_ID, description="The patch's id")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        max_length=255,
        # Printable ASCII: what a header carries without anybody guessing at its letters.
        pattern="^[ -~]*$",
        description="The same key with the same body gets the same answer again",
    ),
]


class Listing(BaseModel):
    """What a listing is narrowed to, and where its page begins."""

    model_config = ConfigDict(extra="forbid")

    tenant: str | None = Field(default=None, pattern=ids.PATTERN)
    service: str | None = Field(default=None, pattern=ids.PATTERN)
    status: Status | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: str | None = Field(default=None, max_length=64, description="`next_cursor` of the page before")


@router.post(
    "",
    status_code=202,
    response_model=views.AcceptedView,
    responses=responses(401, 403, 413, 415, 422, 503),
    openapi_extra=PATCH_BODY,
)
async def post_patch(
    request: Request,
    response: Response,
    parts: PartsOf,
    actor: Caller,
    idempotency_key: IdempotencyKey = None,
) -> views.AcceptedView:
    """Submit a config patch, as JSON or YAML. It is stored and QUEUED; follow it at `Location`."""
    # The role is checked before a byte of the body is looked at: a viewer learns nothing from it.
    access.require(actor, Permission.SUBMIT)
    read = await body.read(request)
    key = None if idempotency_key is None else idempotency_key.strip().strip('"')
    asked = Submission(read.document, read.digest, key or None, request.state.request_id)
    done = await submit(parts.db, actor, asked, parts.clock.now())
    response.headers["Location"] = f"/api/patch/{done.patch_id}"
    return views.AcceptedView(
        patch_id=done.patch_id,
        status=Status.QUEUED,
        tenant=done.spec.tenant,
        service=done.spec.service,
        href=f"/api/patch/{done.patch_id}",
    )


@router.get("", responses=responses(401, 422, 503))
async def list_patches(
    request: Request, response: Response, parts: PartsOf, actor: Reader, asked: Annotated[Listing, Query()]
) -> views.PatchPage:
    """List patches, newest first."""
    filters = patches.Filters(asked.tenant, asked.service, asked.status)
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await patches.page(tx, filters, _before(asked.cursor), asked.limit + 1)
    more = _cursor(found[asked.limit - 1].id) if len(found) > asked.limit else None
    if more is not None:
        following = urlencode({**request.query_params, "cursor": more})
        response.headers["Link"] = f'</api/patch?{following}>; rel="next"'
    items = [views.PatchView(**views.patch_fields(one)) for one in found[: asked.limit]]
    return views.PatchPage(items=items, next_cursor=more)


@router.get("/{patch_id}", responses=responses(401, 404, 422, 503))
async def get_patch(parts: PartsOf, actor: Reader, patch_id: PatchId) -> views.PatchDetail:
    """Show one patch: its status, its progress, its events and the instances' receipts."""
    now = parts.clock.now()
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        patch = await patches.get(tx, patch_id)
        if patch is None:
            raise NotFound(f"there is no patch {patch_id}")
        seen = await look(tx, patch, now)
        events = await trail.events(tx, patch_id)
        receipts = await instances.receipts_of(tx, patch_id)
    waiting = rollout.waiting_for(patch, seen)
    return views.PatchDetail(
        **views.patch_fields(patch),
        progress=views.progress_view(seen, waiting),
        events=[views.event_view(event) for event in events],
        receipts=[views.receipt_view(receipt) for receipt in receipts],
    )


@router.post("/{patch_id}/cancel", status_code=202, responses=_END_PROBLEMS, openapi_extra=END_BODY)
async def cancel_patch(request: Request, parts: PartsOf, actor: Caller, patch_id: PatchId) -> views.PatchView:
    """Withdraw a patch that is not in force yet."""
    asked = await _end_request(request, actor, patch_id)
    return _shown(await end.cancel(parts.db, parts.signer, asked, parts.clock.now()))


@router.post("/{patch_id}/rollback", status_code=202, responses=_END_PROBLEMS, openapi_extra=END_BODY)
async def roll_back_patch(request: Request, parts: PartsOf, actor: Caller, patch_id: PatchId) -> views.PatchView:
    """End a patch that is in force; what was under it shows again."""
    asked = await _end_request(request, actor, patch_id)
    return _shown(await end.roll_back(parts.db, parts.signer, asked, parts.clock.now()))


async def _end_request(request: Request, actor: Actor, patch_id: int) -> end.Request:
    # As with a submission, the role comes before the body.
    access.require(actor, Permission.END)
    reason = validator.ending(await body.read_if_any(request))
    return end.Request(actor, patch_id, reason, request.state.request_id)


def _shown(patch: Patch) -> views.PatchView:
    fields: dict[str, Any] = views.patch_fields(patch)
    return views.PatchView(**fields)


def _cursor(patch_id: int) -> str:
    return base64.urlsafe_b64encode(str(patch_id).encode()).decode().rstrip("=")


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        patch_id = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii"))
    except (ValueError, binascii.Error):
        patch_id = 0
    if not 1 <= patch_id <= _BIGGEST_ID:
        raise Invalid.of([Problem("/query/cursor", "this is not a cursor that a listing gave out")])
    return patch_id
