"""Following one patch until it settles or time is up.

It asks again every 200 ms, less often where the server asks for that. A control plane that restarts meanwhile
is not an error: the patch goes on without the one who watches, so a lost answer is shown and asked for again,
for a while.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from hms_cli.errors import LostError
from hms_cli.outcome import Code, Goal, Outcome, Patch, settled

INTERVAL = 0.2  # seconds between two looks
MOMENT = 0.001  # seconds; less than that is no time left
LOST_FOR = 15.0  # seconds without any answer until we say so and stop


class Clock(NamedTuple):
    """Time as the wait sees it; tests bring their own."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class Wait(NamedTuple):
    """What to wait for, and how long in seconds; None waits as long as it takes."""

    goal: Goal
    timeout: float | None


Look = Callable[[float], dict[str, Any]]  # how long one look may take -> the patch
Show = Callable[[Patch | None, float], None]  # the patch (None: no answer) and the seconds since the start


def follow(look: Look, wait: Wait, show: Show, clock: Clock | None = None) -> tuple[Patch | None, Outcome]:
    """The patch as last seen and how it ended. Passes on what the server refuses, and a loss that lasts."""
    clock = clock or Clock()
    began = heard = clock.now()
    patch: Patch | None = None
    while True:
        found, pause = _look(look, _left(wait, clock.now() - began), patient=clock.now() - heard < LOST_FOR)
        patch, heard = found or patch, clock.now() if found else heard
        show(found, clock.now() - began)
        outcome = settled(found, wait.goal) if found else None
        left = _left(wait, clock.now() - began)
        if outcome is not None or left < MOMENT:
            return patch, outcome or _too_late(wait)
        clock.sleep(min(pause, left))


def _look(look: Look, left: float, *, patient: bool) -> tuple[Patch | None, float]:
    """The patch now, or None when no answer came and we still bear it; and the seconds until the next look."""
    try:
        return look(left), INTERVAL
    except LostError as lost:
        if not patient:
            raise
        return None, min(max(INTERVAL, lost.after), LOST_FOR)


def _left(wait: Wait, elapsed: float) -> float:
    return float("inf") if wait.timeout is None else wait.timeout - elapsed


def _too_late(wait: Wait) -> Outcome:
    words = "still in effect" if wait.goal is Goal.GONE else "not in effect"
    return Outcome(Code.TIMEOUT, f"{words} after {wait.timeout:g} s; it goes on without us")
