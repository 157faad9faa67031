"""`/api/stream`: the signed snapshots, for sidecars that cannot reach Redis; the revisions, and the way back to one."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, Field

from hms_mgt import validator
from hms_mgt.api import body, cursor
from hms_mgt.api.auth import Caller, PartsOf, Reader
from hms_mgt.api.examples import ENVELOPE
from hms_mgt.api.problems import responses
from hms_mgt.api.schema import GO_BACK_BODY
from hms_mgt.domain import access, ids
from hms_mgt.domain.access import Permission
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import NotFound
from hms_mgt.store import streams
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases.go_back import Returned, Wanted, go_back

router = APIRouter(prefix="/api/stream", tags=["stream"])
Id = Annotated[str, Path(pattern=ids.PATTERN)]


class RevisionView(BaseModel):
    """One revision of a stream."""

    revision: int
    at: str
    patches: list[int] = Field(description="Ids of the patches it held")


class RevisionPage(BaseModel):
    """Revisions, newest first."""

    items: list[RevisionView]
    next_cursor: str | None


class ResubmittedView(BaseModel):
    """A patch that had left the stream, and the new one that brings it back."""

    was: int
    patch_id: int


class LostView(BaseModel):
    """A patch that cannot come back, and why."""

    patch_id: int
    reason: str


class ReturnedView(BaseModel):
    """What taking a stream back did."""

    revision: int | None = Field(description="The new revision; null where nothing had to leave")
    ended: list[int]
    resubmitted: list[ResubmittedView]
    lost: list[LostView]


@router.get("/{tenant}/{service}/snapshot", responses={200: ENVELOPE, **responses(401, 404, 422, 503)})
async def get_snapshot(parts: PartsOf, actor: Reader, tenant: Id, service: Id) -> Response:
    """Return the stream's head as one signed envelope, the same bytes that Redis holds."""
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        head = await streams.head(tx, tenant, service)
    if head is None:
        raise NotFound(f"there is no stream for {tenant}/{service}")
    return Response(head.snapshot, media_type="application/json")


@router.get("/{tenant}/{service}/revision", responses=responses(401, 404, 422, 503))
async def list_revisions(  # noqa: PLR0913, PLR0917 - the request's own parts
    request: Request,
    response: Response,
    parts: PartsOf,
    actor: Reader,
    tenant: Id,
    service: Id,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[str | None, Query(alias="cursor", max_length=64)] = None,
) -> RevisionPage:
    """List what the stream held, revision by revision, newest first."""
    before = cursor.read(after)
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        if await streams.head(tx, tenant, service) is None:
            raise NotFound(f"there is no stream for {tenant}/{service}")
        found = await streams.page(tx, tenant, service, before, limit + 1)
    more = cursor.write(found[limit - 1].revision) if len(found) > limit else None
    cursor.link(request, response, more)
    items = [RevisionView(revision=one.revision, at=rfc3339(one.at), patches=one.patch_ids) for one in found[:limit]]
    return RevisionPage(items=items, next_cursor=more)


@router.post(
    "/{tenant}/{service}/rollback",
    status_code=202,
    responses=responses(401, 403, 404, 409, 413, 415, 422, 503),
    openapi_extra=GO_BACK_BODY,
)
async def roll_back_stream(request: Request, parts: PartsOf, actor: Caller, tenant: Id, service: Id) -> ReturnedView:
    """Take a stream back to what it held at an earlier revision, as a new revision.

    What came since leaves at once. What has left since and whose window is not over is submitted anew.
    """
    access.require(actor, Permission.SUBMIT)
    asked = validator.going_back((await body.read(request)).document)
    wanted = Wanted(tenant, service, asked)
    return _view(await go_back(parts.db, parts.signer, actor, wanted, parts.clock.now()))


def _view(done: Returned) -> ReturnedView:
    return ReturnedView(
        revision=done.revision,
        ended=list(done.ended),
        resubmitted=[ResubmittedView(was=was, patch_id=patch_id) for was, patch_id in done.resubmitted],
        lost=[LostView(patch_id=patch_id, reason=reason) for patch_id, reason in done.lost],
    )
