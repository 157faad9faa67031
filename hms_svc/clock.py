"""The two clocks, passed in so that tests can hold them: windows go by the time of day, everything else by spans.

The monotonic one counts the time a machine sleeps (CLOCK_MONOTONIC does not), or each sleep would look like a jump.
"""

import os
import time
from collections.abc import Callable
from typing import NamedTuple

TICK_SECONDS = 1.3
"""An agent that nothing wakes looks at everything so often. Four of these outlast the 5 s between two heartbeats."""
PAUSE_SECONDS = 0.5
"""One that is woken all the time looks no more often than this at what nobody tells it of."""
MOMENT_SECONDS = 0.05
READS = 5


class Clock(NamedTuple):
    """`now` only goes forward (seconds from anywhere); `wall` is epoch seconds and may be stepped."""

    now: Callable[[], float] = lambda: time.clock_gettime(time.CLOCK_BOOTTIME)
    wall: Callable[[], float] = time.time

    def read(self) -> tuple[float, float]:
        """Both at one moment: looked at again when something came between, which would look like a jump."""
        for _ in range(READS):
            now, wall = self.now(), self.wall()
            if self.now() - now < MOMENT_SECONDS:
                break
        return now, wall


def boot_id() -> str:
    """Which boot of which machine the monotonic clock counts from; "" where that is not told."""
    try:
        fd = os.open("/proc/sys/kernel/random/boot_id", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        return os.read(fd, 64).decode("ascii", "replace").strip()
    finally:
        os.close(fd)


REAL = Clock()
