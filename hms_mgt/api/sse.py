"""Server-sent events: one caller's stream of what happens, for as long as the caller is there and still known."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

import structlog
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from hms_mgt.api.views import EventView, event_view
from hms_mgt.api.wakeups import Ear, Wakeups
from hms_mgt.domain.patch import TERMINAL
from hms_mgt.errors import HmsError
from hms_mgt.store import events
from hms_mgt.store.database import Database
from hms_mgt.store.events import Place, PlacedEvent, Wanted

EVENT = "patch"
_MOST_AT_ONCE = 200
_RETRY_MS = 2000
# How long nobody looks at the timers.
_TICK_S = 0.5
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_log = structlog.get_logger()
_Result = TypeVar("_Result")


class StepView(EventView):
    """One step in a patch's life, and whose."""

    patch_id: int
    tenant: str
    service: str


class Pace(NamedTuple):
    """How long things take, in seconds."""

    # Who did not ask for an event stream is let go after so long without an event.
    idle: float = 5
    # A comment that keeps the connection open and finds out whether anybody is there.
    beat: float = 15
    # A token may have been revoked.
    check: float = 3


class Stream(NamedTuple):
    """What is to be sent to whom."""

    db: Database
    # The tenant whose rows may be read.
    scope: str
    wanted: Wanted
    place: Place
    # Tells whether the caller is still known.
    known: Callable[[], Coroutine[Any, Any, bool]]
    # Whether the caller waits without end for the next event.
    patient: bool
    pace: Pace


class EventStream(StreamingResponse):
    """Sends a stream. It has a place among those that are woken while it is sent, and not a moment longer."""

    media_type = "text/event-stream"

    def __init__(self, stream: Stream, wakeups: Wakeups) -> None:
        self._ear = Ear(stream.wanted, asyncio.Event())
        self._wakeups = wakeups
        super().__init__(_lines(stream, wakeups, self._ear.wake), headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            Unavailable: there are too many streams already.
        """
        with self._wakeups.hearing(self._ear):
            await super().__call__(scope, receive, send)


class _Timer:
    """Tells when so many seconds have gone by."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.begin()

    def begin(self) -> None:
        self._until = time.monotonic() + self._seconds

    def over(self) -> bool:
        """Tell whether they have; if so they begin anew."""
        over = time.monotonic() >= self._until
        if over:
            self.begin()
        return over


async def _lines(stream: Stream, wakeups: Wakeups, wake: asyncio.Event) -> AsyncIterator[bytes]:
    """Write the stream: what is there behind its place, then what comes."""
    # The place goes first, so that who is cut off before the first event goes on from here as well.
    yield format_sse_event(id=_id(stream.place), retry=_RETRY_MS)
    idle, beat, check = _Timer(stream.pace.idle), _Timer(stream.pace.beat), _Timer(stream.pace.check)
    try:
        async for found in _looks(stream, wakeups, wake):
            for event in found:
                yield _line(event)
                idle.begin()
            if stream.wanted.patch_id is not None and any(one.step.to_status in TERMINAL for one in found):
                return
            if (idle.over() and not stream.patient) or (check.over() and not await _whole(stream.known())):
                return
            if beat.over():
                yield KEEPALIVE_COMMENT
    except (HmsError, SQLAlchemyError) as error:
        # The caller comes again and goes on where this ended.
        _log.warning("a stream broke off", error=type(error).__name__)


async def _looks(stream: Stream, wakeups: Wakeups, wake: asyncio.Event) -> AsyncIterator[list[PlacedEvent]]:
    """Look again and again and yield what is new, which is mostly nothing."""
    place = stream.place
    wake.set()
    while not wakeups.closed:
        found: list[PlacedEvent] = []
        if wake.is_set():
            wake.clear()
            found = await _whole(_read(stream, wakeups, place))
        if found:
            place = found[-1].place
            wake.set()
        yield found
        with suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), min(_TICK_S, stream.pace.idle))


async def _read(stream: Stream, wakeups: Wakeups, place: Place) -> list[PlacedEvent]:
    async with wakeups.reading, stream.db.transaction(stream.scope) as tx:
        return await events.after(tx, place, stream.wanted, _MOST_AT_ONCE)


async def _whole(work: Coroutine[Any, Any, _Result]) -> _Result:
    """Finish what uses a connection, also when the caller leaves meanwhile: a query cut off costs the connection."""
    return await asyncio.shield(asyncio.create_task(work))


def _line(event: PlacedEvent) -> bytes:
    step = event_view(event.step).model_dump()
    data = StepView(**step, patch_id=event.patch_id, tenant=event.tenant, service=event.service)
    return format_sse_event(id=_id(event.place), event=EVENT, data_str=data.model_dump_json(by_alias=True))


def _id(place: Place) -> str:
    return f"{place.tx}-{place.id}"
