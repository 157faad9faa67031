"""The file that our rename replaces: what somebody wrote into it after our last look must not be lost.

It is held open across the rename and a little longer, for a writer who had it open goes on writing to it although its
name is ours by then. A file that an editor moves there within the last microseconds cannot be held: no rename can
compare.
"""

import os
from stat import S_ISREG
from typing import TypeAlias

from hms_svc.conf_file import let_go
from hms_svc.journal import Imprint

MOST_BYTES = 16 * 1024 * 1024
HELD_SECONDS = 0.5
UNREAD = (-1, -1)

Looks: TypeAlias = tuple[int, int]


class OldFile:
    """One file, held from the decision to replace it until a while after. `now` is the monotonic clock."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._before = -1  # the one that was held before it
        self._was: Looks = (0, 0)
        self._last: tuple[Looks, float] = ((0, 0), 0.0)  # how it looked, and since when
        self._placed = False
        self._let_go_at: float | None = None
        self.made: Imprint | None = None  # what patches changed in the file that is held

    def open(self, made: Imprint | None) -> None:
        """Hold the file as it is now, unless the one before is still being written to."""
        if self.stirred:
            return
        self._leave()
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            self._was = self._looks()
        except OSError:  # nothing there, or nothing to be read
            self._let_go()
        self.made = made

    def _leave(self) -> None:
        """Keep the one before until ours is placed."""
        let_go(self._before)
        self._before, self._fd = self._fd, -1
        self._let_go()

    def unread(self) -> None:
        """Nobody has read what it holds: that counts as written after."""
        self._was = UNREAD

    def placed(self) -> None:
        """Our file has its name now."""
        self._placed, self._let_go_at = self._fd >= 0, None
        self._before = let_go(self._before)

    @property
    def held(self) -> bool:
        """Whether it is still watched."""
        return self._placed

    @property
    def stirred(self) -> bool:
        """Whether somebody wrote to the old file after our last look at it."""
        return self._placed and self._looks() != self._was and S_ISREG(os.fstat(self._fd).st_mode)

    def moving(self, now: float, steady: float) -> bool:
        """Whether somebody is still writing to it."""
        looks = self._looks()
        if looks != self._last[0]:
            self._last = (looks, now)
        return now - self._last[1] < steady

    def take(self) -> bytes:
        """What they wrote."""
        try:
            return os.pread(self._fd, MOST_BYTES, 0)
        finally:
            self._let_go()

    def rest(self, now: float) -> None:
        """Let go of a file that nobody wrote to for a while."""
        if self._placed and self._let_go_at is None:
            self._let_go_at = now + HELD_SECONDS
        if self._let_go_at is not None and now >= self._let_go_at:
            self._let_go()

    def _looks(self) -> Looks:
        found = os.fstat(self._fd)
        return found.st_mtime_ns, found.st_size

    def _let_go(self) -> None:
        self._placed, self._let_go_at = False, None
        self._fd = let_go(self._fd)
