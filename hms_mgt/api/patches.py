"""`/api/patch`: submit, look, list, cancel, roll back."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt import validator
from hms_mgt.api import body, cursor, views
from hms_mgt.api.auth import Caller, PartsOf, Reader
from hms_mgt.api.problems import responses
from hms_mgt.api.rehearsal import DryRunView, dry_run_view
from hms_mgt.api.schema import END_BODY, PATCH_BODY, WINDOW_BODY
from hms_mgt.domain import access, ids, rollout
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import Patch, Status
from hms_mgt.errors import NotFound
from hms_mgt.parts import Parts
from hms_mgt.store import approvals, instances, patches, trail
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases import end
from hms_mgt.usecases.admit import Accepted
from hms_mgt.usecases.dry_run import rehearse
from hms_mgt.usecases.follow import look
from hms_mgt.usecases.revise import NewWindow, change_window
from hms_mgt.usecases.submit import Submission, submit

router = APIRouter(prefix="/api/patch", tags=["patch"])
_END_PROBLEMS = responses(401, 403, 404, 409, 413, 415, 422, 503)
PatchId = Annotated[int, Path(ge=1, le=cursor.BIGGEST_ID, description="The patch's id")]
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


class How(BaseModel):
    """How a patch is submitted. A word that is not known is refused: a dry run misspelt must not be a submission."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = Field(default=False, description="Answer what it would meet and do; nothing is stored")


@router.post(
    "",
    status_code=202,
    response_model=views.AcceptedView,
    responses={
        **responses(401, 403, 409, 413, 415, 422, 503),
        200: {"model": DryRunView, "description": "What a dry run found"},
    },
    openapi_extra=PATCH_BODY,
)
async def post_patch(  # noqa: PLR0913, PLR0917 - the request's own parts
    request: Request,
    response: Response,
    parts: PartsOf,
    actor: Caller,
    how: Annotated[How, Query()],
    idempotency_key: IdempotencyKey = None,
) -> views.AcceptedView | Response:
    """Submit a config patch, as JSON or YAML. It is stored and QUEUED; follow it at `Location`."""
    # The role is checked before a byte of the body is looked at: a viewer learns nothing from it.
    access.require(actor, Permission.SUBMIT)
    asked = await _submission(request, idempotency_key)
    now = parts.clock.now()
    if how.dry_run:
        found = await rehearse(parts.db, parts.governance, actor, asked.document, now)
        return JSONResponse(dry_run_view(found).model_dump())
    return _accepted(response, await submit(parts.db, parts.signer, actor, asked, now))


@router.post(
    "/{patch_id}/window",
    status_code=202,
    responses=responses(401, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra=WINDOW_BODY,
)
async def change_patch_window(  # noqa: PLR0913, PLR0917 - the request's own parts
    request: Request,
    response: Response,
    parts: PartsOf,
    actor: Caller,
    patch_id: PatchId,
    idempotency_key: IdempotencyKey = None,
) -> views.AcceptedView:
    """Extend, shorten or move a patch's window: a new patch with the new window, that supersedes this one."""
    access.require(actor, Permission.SUBMIT)
    asked = await _submission(request, idempotency_key)
    wanted = NewWindow(patch_id, asked._replace(digest=f"{patch_id}:{asked.digest}"))
    return _accepted(response, await change_window(parts.db, parts.signer, actor, wanted, parts.clock.now()))


async def _submission(request: Request, idempotency_key: str | None) -> Submission:
    read = await body.read(request)
    key = None if idempotency_key is None else idempotency_key.strip().strip('"')
    return Submission(read.document, read.digest, key or None)


def _accepted(response: Response, done: Accepted) -> views.AcceptedView:
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
        found = await patches.page(tx, filters, cursor.read(asked.cursor), asked.limit + 1)
    more = cursor.write(found[asked.limit - 1].id) if len(found) > asked.limit else None
    cursor.link(request, response, more)
    items = [views.PatchView(**views.patch_fields(one)) for one in found[: asked.limit]]
    return views.PatchPage(items=items, next_cursor=more)


@router.get("/{patch_id}", responses=responses(401, 404, 422, 503))
async def get_patch(parts: PartsOf, actor: Reader, patch_id: PatchId) -> views.PatchDetail:
    """Show one patch: its status, its progress, what people said, its events and the instances' receipts."""
    return await detail(parts, actor, patch_id)


async def detail(parts: Parts, actor: Actor, patch_id: int) -> views.PatchDetail:
    """Show all there is of one patch.

    Raises:
        NotFound: there is no such patch in the actor's scope.
    """
    now = parts.clock.now()
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        patch = await patches.get(tx, patch_id)
        if patch is None:
            raise NotFound(f"there is no patch {patch_id}")
        seen = await look(tx, patch, now)
        said = await approvals.of_patch(tx, patch_id)
        events = await trail.events(tx, patch_id)
        receipts = await instances.receipts_of(tx, patch_id)
    waiting = rollout.waiting_for(patch, seen)
    return views.PatchDetail(
        **views.patch_fields(patch),
        progress=views.progress_view(seen, waiting),
        approvals=[views.word_view(word) for word in said],
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
    return end.Request(actor, patch_id, reason)


def _shown(patch: Patch) -> views.PatchView:
    fields: dict[str, Any] = views.patch_fields(patch)
    return views.PatchView(**fields)
