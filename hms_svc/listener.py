"""Where the agent can be asked how it is: a socket in its state directory, and a port where HMS_LISTEN names one.

Only what must be there before anybody asks: two listening sockets for the loop to wait on. Who asks is `http_server`'s
business, which is loaded when the first one comes. A socket that cannot be opened is said once and tried again: a taken
port must not keep a window open.
"""

import os
import socket
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from hms_svc.log import emit
from hms_svc.settings import Settings

if TYPE_CHECKING:
    import select

    from hms_svc.http_server import HttpServer

SOCKET = "status.sock"
BACKLOG = 16
RETRY_SECONDS = 2.0
POLLIN = 1  # as in select, which need not be here

# The agent's account of itself, with or without each patch.
View: TypeAlias = Callable[[bool], dict[str, Any]]


class Listener:
    """The agent's listening sockets. `now` is the monotonic clock."""

    def __init__(self, settings: Settings) -> None:
        self._state = settings.state
        self._address = settings.listen
        self._inside: socket.socket | None = None
        self._outside: socket.socket | None = None
        self._server: HttpServer | None = None
        self._retry_at = 0.0
        self._complaint = ""

    def open(self, now: float) -> None:
        """Open what is not open yet, when it is time to try."""
        if now < self._retry_at:
            return
        self._retry_at = now + RETRY_SECONDS
        try:
            self._inside = self._inside or _local(self._state)
            if self._address and not self._outside:
                self._outside = _port(*self._address)
            self._retry_at = float("inf")
        except OSError as error:
            self._complain(str(error))

    def _complain(self, detail: str) -> None:
        if detail != self._complaint:
            self._complaint = detail
            emit("not_listening", detail=detail)

    def wake_at(self) -> float:
        """When to come back, if nobody asks before."""
        return min(self._retry_at, self._server.wake_at()) if self._server else self._retry_at

    def register(self, poll: "select.poll", now: float) -> None:
        """Have the loop woken for those who ask."""
        if self._server is None or self._server.takes(now):
            for door in (self._inside, self._outside):
                if door is not None:
                    poll.register(door, POLLIN)
        if self._server is not None:
            self._server.register(poll)

    def serve(self, ready: Iterable[int], now: float, view: View, *, scarce: bool = False) -> None:
        """Answer those who came, without waiting for any of them; one at a time where descriptors are scarce."""
        self.open(now)
        came = set(ready)
        doors = [door for door in (self._inside, self._outside) if door is not None and door.fileno() in came]
        if doors and self._server is None:
            from hms_svc.http_server import HttpServer  # noqa: PLC0415 - nobody may ever ask

            self._server = HttpServer()
        if self._server is not None:
            self._server.serve(doors, came, now, view, self._inside, scarce=scarce)

    def close(self) -> None:
        """Nobody is listening any more."""
        for door in (self._inside, self._outside):
            if door is not None:
                door.close()
        if self._inside is not None:
            _forget(f"{self._state}/{SOCKET}")


def _local(directory: str) -> socket.socket:
    """The socket in the state directory. The lock is held, so whatever has its name is left over from our last life."""
    _forget(f"{directory}/{SOCKET}")
    local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _bind(local, directory)
        local.listen(BACKLOG)
        local.setblocking(False)
    except BaseException:
        local.close()
        raise
    return local


def _bind(local: socket.socket, directory: str) -> None:
    """Through a descriptor of the directory: a socket's own path may have 107 bytes only. For its owner's eyes."""
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    before = os.umask(0o177)
    try:
        local.bind(f"/proc/self/fd/{held}/{SOCKET}")
    finally:
        os.umask(before)
        os.close(held)


def _port(host: str, port: int) -> socket.socket:
    outside = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        outside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        outside.bind((host, port))
        outside.listen(BACKLOG)
        outside.setblocking(False)
    except OSError as error:
        outside.close()
        raise OSError(error.errno, f"HMS_LISTEN={host}:{port}: {error.strerror}") from None
    return outside


def _forget(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - pathlib costs a megabyte
    except OSError:
        return
