"""Wakes the streams of this process when something of theirs happened. However many there are, one connection listens.

A stream holds no connection while it waits. Once woken it reads for itself, in its own tenant's scope.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import structlog

from hms_mgt.errors import Unavailable
from hms_mgt.parts import Parts
from hms_mgt.store import events, wakeup
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.store.events import Place, Wanted

MOST_STREAMS = 500
# So many of them read at a time: requests want connections too.
_MOST_READING = 4
# Behind the notifications, should one be lost.
_LOOK_EVERY_S = 2.0
# After each look: a burst of notifications is one more look. Also while an event waits for an older transaction.
_PAUSE_S = 0.05
_MOST_EVENTS = 500
_log = structlog.get_logger()


class Ear(NamedTuple):
    """One stream's: what it follows, and what is set when there may be some of it to read."""

    wanted: Wanted
    wake: asyncio.Event


class Wakeups:
    """The streams that are open in this process. While there are any, the database is listened to."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._ears: set[Ear] = set()
        self._listening: asyncio.Task[None] | None = None
        self._called = asyncio.Event()
        self.most = MOST_STREAMS
        self.reading = asyncio.Semaphore(_MOST_READING)
        self.closed = False

    @contextmanager
    def hearing(self, ear: Ear) -> Iterator[None]:
        """Wake this ear for as long as the block lasts.

        Raises:
            Unavailable: as many streams are open as may be, or the process is about to end.
        """
        if self.closed or len(self._ears) >= self.most:
            raise Unavailable("this process can have no more streams followed now")
        self._ears.add(ear)
        if self._listening is None:
            self._listening = asyncio.create_task(self._listen())
        try:
            yield
        finally:
            self._ears.remove(ear)
            self._called.set()

    def close(self) -> None:
        """Have every open stream end now, and let no other begin."""
        self.closed = True
        self._wake_all()

    def _wake_all(self) -> None:
        for ear in self._ears:
            ear.wake.set()

    async def _listen(self) -> None:
        """Listen and look for as long as there is a stream. It is never cut off: that would cost the connection."""
        while self._ears:
            stop = asyncio.Event()
            async with asyncio.TaskGroup() as both:
                both.create_task(wakeup.listen(self._parts.db.url, [self._called], stop))
                await self._follow()
                stop.set()
        self._listening = None

    async def _follow(self) -> None:
        place: Place | None = None
        while self._ears:
            self._called.clear()
            pause = _LOOK_EVERY_S
            try:
                place, pause = await self._look(place)
            except Exception as error:  # noqa: BLE001 - the streams outlive every error
                _log.warning("events cannot be read", error=type(error).__name__)
            await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), pause)

    async def _look(self, place: Place | None) -> tuple[Place, float]:
        """Wake those whom new events concern. Returns from where to look on, and in how many seconds at the latest."""
        async with self._parts.db.transaction(EVERY_TENANT) as tx:
            found = [] if place is None else await events.after(tx, place, Wanted(), _MOST_EVENTS)
            soon = len(found) == _MOST_EVENTS or await events.settling(tx)
            following = found[-1].place if found else place or await events.end(tx)
        if place is None:
            # What happened between their own first look and this one is unknown.
            self._wake_all()
        for ear in self._ears:
            if any(ear.wanted.takes(event) for event in found):
                ear.wake.set()
        return following, 0 if soon else _LOOK_EVERY_S
