"""The two clocks, passed in so that tests can hold them: windows go by the time of day, everything else by spans."""

import time
from collections.abc import Callable
from typing import NamedTuple


class Clock(NamedTuple):
    """`now` only goes forward (seconds from anywhere); `wall` is epoch seconds and may be stepped."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


REAL = Clock()
