"""What there may be too little of: descriptors, threads, processes, memory. Time may heal that; no patch is to blame.

A few descriptors are held in reserve. When few others are left they are given up, for the end of a window takes some:
files to write, a process to look for and to signal, a command to run. They are taken back once there is room again.
"""

import errno
import os

# Files that are replaced stay held meanwhile, three at most; a command takes a pipe and a handle on its process.
RESERVE = 7
# What a start takes besides: sockets, a pipe, modules to read.
START = 8
AMPLE = 256  # an agent never has as many, so with such a limit there is nothing to count
AGAIN_SECONDS = 1.0
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def scarce(error: OSError) -> bool:
    """Whether something could not be done for want of descriptors, threads, processes or memory."""
    return error.errno in _SCARCE


class Reserve:
    """The descriptors that are held. `now` is the monotonic clock."""

    def __init__(self) -> None:
        self._held: list[int] = []
        self._again_at = 0.0
        if _room(RESERVE + START):
            self._held = _taken(RESERVE)

    @property
    def spent(self) -> bool:
        """Whether it was given up, or never to be had."""
        return not self._held

    def look(self, now: float) -> None:
        """Give it up where few others are left, take it back where there are more than that."""
        if self._held and not _room(RESERVE):
            _give_back(self._held)
        elif not self._held and now >= self._again_at:
            self._again_at = now + AGAIN_SECONDS
            if _room(2 * RESERVE):
                self._held = _taken(RESERVE)


def _room(count: int) -> bool:
    """Whether there are so many descriptors to be had."""
    limit = os.sysconf("SC_OPEN_MAX")
    if limit < 0 or limit >= AMPLE:
        return True
    taken = _taken(count)
    room = bool(taken)
    _give_back(taken)
    return room


def _taken(count: int) -> list[int]:
    """So many descriptors, or none."""
    taken: list[int] = []
    try:
        taken.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
        while len(taken) < count:
            taken.append(os.dup(taken[0]))
    except OSError:
        _give_back(taken)
    return taken


def _give_back(taken: list[int]) -> None:
    while taken:
        os.close(taken.pop())
