"""Runs one step of work again and again: when woken, when its time comes, and in any case every so often."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from hms_mgt.errors import HmsError

_log = structlog.get_logger()
_PAUSE_AFTER_ERROR_S = 0.5


class Loop(NamedTuple):
    """Named work. `step` does what there is to do and returns in how many seconds it must look again."""

    name: str
    step: Callable[[], Awaitable[float]]
    wake: asyncio.Event


async def run(loop: Loop, stop: asyncio.Event) -> None:
    """Run the loop until `stop`; a step that was begun is finished."""
    failing = ""
    while not stop.is_set():
        loop.wake.clear()
        try:
            pause = await loop.step()
            failing = ""
        except Exception as error:  # noqa: BLE001 - a loop outlives every error; each kind is said once
            failing = _say(loop.name, error, failing)
            pause = _PAUSE_AFTER_ERROR_S
        await _wait(loop.wake, stop, pause)


def _say(name: str, error: Exception, before: str) -> str:
    words = f"{type(error).__name__}: {error}"
    if words != before:
        # An error of ours says all there is; anything else is a bug and needs its traceback.
        _log.warning("step failed", loop=name, error=words, exc_info=not isinstance(error, HmsError))
    return words


async def _wait(wake: asyncio.Event, stop: asyncio.Event, seconds: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in (wake, stop)]
    await asyncio.wait(waits, timeout=max(seconds, 0), return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
