"""The steps of patches as they happen: of one patch, or of all that the caller may see."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Response

from hms_mgt.api.auth import PartsOf, Reader, still_good
from hms_mgt.api.patches import PatchId
from hms_mgt.api.problems import responses
from hms_mgt.api.sse import EVENT, EventStream, Pace, StepView, Stream
from hms_mgt.domain import ids
from hms_mgt.domain.access import Actor
from hms_mgt.errors import NotFound
from hms_mgt.parts import Parts
from hms_mgt.store import events, patches
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.store.events import BEGINNING, Place, Wanted

router = APIRouter(prefix="/api", tags=["event"])
_ID = "^[0-9]{1,18}-[0-9]{1,18}$"
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events; each `data` is one step of one patch. Without"
        " `Accept: text/event-stream` the answer ends after 5 seconds in which nothing happened.",
        "content": {
            "text/event-stream": {
                "itemSchema": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "pattern": _ID},
                        "event": {"const": EVENT},
                        "data": {
                            "type": "string",
                            "contentMediaType": "application/json",
                            "contentSchema": StepView.model_json_schema(),
                        },
                        "retry": {"type": "integer", "minimum": 0},
                    },
                },
                "example": "id: 7411-0\nretry: 2000\n\n"
                'event: patch\ndata: {"at": "2026-11-23T12:00:00Z", "from": null, "to": "QUEUED", "actor": "ci",'
                ' "detail": "", "patch_id": 784, "tenant": "IACB", "service": "ARTIST_REGISTRY_API"}\n'
                "id: 7412-9001\n\n",
            }
        },
    }
}


def _asked_place(
    last_event_id: Annotated[
        str | None, Header(pattern=_ID, description="The `id` of the last event that came: go on behind it")
    ] = None,
    last_event_id_query: Annotated[
        str | None,
        Query(alias="last_event_id", pattern=_ID, description="The same, for those who can send no header"),
    ] = None,
) -> Place | None:
    """Return where the caller wants to go on; the header is the newer word of one that came again."""
    given = last_event_id or last_event_id_query
    if given is None:
        return None
    tx, _, number = given.partition("-")
    return Place(int(tx), int(number))


AskedPlace = Annotated[Place | None, Depends(_asked_place)]


@router.get(
    "/patch/{patch_id}/events",
    status_code=200,
    response_class=EventStream,
    responses={
        **_STREAM,
        204: {"description": "The patch has ended, and nothing happened behind the event named"},
        **responses(404, 422),
    },
)
async def follow_patch(
    request: Request, parts: PartsOf, actor: Reader, patch_id: PatchId, place: AskedPlace
) -> Response:
    """Follow one patch: every step so far, then each as it happens, until the one that ends it."""
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        if await patches.get(tx, patch_id) is None:
            raise NotFound(f"there is no patch {patch_id}")
        if await events.ended(tx, patch_id, place or BEGINNING):
            return Response(status_code=204)
    return _stream(request, parts, actor, Wanted(patch_id=patch_id), place or BEGINNING)


@router.get("/events", status_code=200, response_class=EventStream, responses={**_STREAM, **responses(422)})
async def follow(  # noqa: PLR0913, PLR0917 - one for each that the request may say
    request: Request,
    parts: PartsOf,
    actor: Reader,
    place: AskedPlace,
    tenant: Annotated[str | None, Query(pattern=ids.PATTERN)] = None,
    service: Annotated[str | None, Query(pattern=ids.PATTERN)] = None,
) -> Response:
    """Follow all patches that the token may see, from now on or from behind the event named."""
    if place is None:
        async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
            place = await events.end(tx)
    return _stream(request, parts, actor, Wanted(tenant=tenant or actor.tenant, service=service), place)


def _stream(request: Request, parts: Parts, actor: Actor, wanted: Wanted, place: Place) -> Response:
    pace: Pace = request.app.state.pace
    scope = actor.tenant or EVERY_TENANT
    patient = "text/event-stream" in request.headers.get("accept", "")
    stream = Stream(parts.db, scope, wanted, place, partial(still_good, request, actor), patient, pace)
    return EventStream(stream, request.app.state.wakeups)
