"""Work that may block, done beside the loop: name look-ups, connecting, HTTP, the check command.

The loop must end a window on time while a resolver hangs or a command sleeps, so nothing that waits for
others runs in it. An errand is a short-lived thread with a small stack that fetches one value and rings the
loop's bell; nobody has to wait for it, and an abandoned one simply finishes unheard. A pool would keep
threads in every idle pod.
"""

import _thread
import errno
import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

STACK_BYTES = 512 * 1024
# Short of memory a thread can end before it begins, and nobody is told. It begins within a millisecond otherwise.
BEGIN_SECONDS = 0.25


class Bell:
    """A pipe that wakes the loop's poll, rung by errands and by signal handlers."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def ring(self) -> None:
        """Wake the loop; a full pipe means it is waking already."""
        try:
            os.write(self.writer, b"!")
        except OSError:
            return

    def hush(self) -> None:
        """Empty the pipe after waking."""
        try:
            while os.read(self.reader, 4096):
                pass
        except OSError:
            return


class Errand(Generic[T]):
    """One value being fetched. `take` gives it, or raises what the work raised; OSError where it could not begin."""

    def __init__(self, bell: Bell, work: Callable[[], T]) -> None:
        self.done = False
        self.until = float("inf")  # when nobody waits for it any longer: a name look-up can take minutes
        self._bell = bell
        self._work = work
        self._value: list[T] = []
        self._error: Exception | None = None
        self._begun = _thread.allocate_lock()
        self._begun.acquire()
        if not self._begins():
            self._error, self.done = OSError(errno.EAGAIN, "no thread can be started"), True
            bell.ring()

    def _begins(self) -> bool:
        """Whether there is a thread at work: not with too many of them, or with too little memory."""
        _thread.stack_size(STACK_BYTES)
        try:
            _thread.start_new_thread(self._run, ())
        except (RuntimeError, MemoryError):
            return False
        return self._begun.acquire(timeout=BEGIN_SECONDS)

    def _run(self) -> None:
        self._begun.release()
        if self.done:  # so late that nobody waits any more
            return
        try:
            self._value.append(self._work())
        except MemoryError:
            self._error = OSError(errno.ENOMEM, "out of memory")
        except Exception as error:  # noqa: BLE001 - handed to the loop by take()
            self._error = error
        self.done = True
        self._bell.ring()

    def take(self) -> T:
        """The value; only when `done`."""
        if self._error is not None:
            raise self._error
        return self._value[0]
