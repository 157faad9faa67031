"""Answers a few bytes of HTTP to many, inside the loop: /livez, /readyz and /metrics to all, /status to the local user.

Everything is bounded, because the loop's windows come first: 8 visitors at once, 2 s for each, 4 KiB of request, and a
pause after each handful, so that a flood costs a bounded share of the processor. When all places are taken the slowest
visitor goes; who sends the request at once is answered at once and takes no place at all.
"""

import select
import socket
from collections.abc import Iterable, Sequence

from hms_svc.health import Answer, answer
from hms_svc.listener import View

MOST_VISITORS = 8
VISIT_SECONDS = 2.0
HEAD_BYTES = 4096
PAUSE_SECONDS = 0.01
WORDS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Visitor:
    """One connection: what it has said, and what it has yet to be told."""

    def __init__(self, sock: socket.socket, until: float, *, local: bool) -> None:
        self.sock = sock
        self.until = until
        self.local = local
        self.head = b""
        self.left = memoryview(b"")
        self.over = False


class HttpServer:
    """Those who are being answered. `now` is the monotonic clock."""

    def __init__(self) -> None:
        self._visitors: dict[int, Visitor] = {}
        self._pause_until = 0.0
        self._most = MOST_VISITORS

    def takes(self, now: float) -> bool:
        """Whether somebody new may come in now."""
        return now >= self._pause_until

    def wake_at(self) -> float:
        """When a visitor's time is up, or somebody new may come in."""
        times = [visitor.until for visitor in self._visitors.values()]
        if self._pause_until:
            times.append(self._pause_until)
        return min(times, default=float("inf"))

    def register(self, poll: select.poll) -> None:
        """Have the loop woken for visitors that can go on."""
        for fd, visitor in self._visitors.items():
            poll.register(fd, select.POLLOUT if visitor.left else select.POLLIN)

    def serve(  # noqa: PLR0913 - the one door to all of it
        self,
        doors: Sequence[socket.socket],
        ready: Iterable[int],
        now: float,
        view: View,
        inside: socket.socket | None,
        *,
        scarce: bool = False,
    ) -> None:
        """Go on with those who are ready, and let new ones in: one at a time where descriptors are scarce."""
        self._most = 1 if scarce else MOST_VISITORS
        if self.takes(now):
            self._pause_until = 0.0
        going = [self._visitors[fd] for fd in ready if fd in self._visitors]
        coming = [self._enter(sock, now, local=door is inside) for door in doors for sock in self._accepted(door, now)]
        for visitor in (*going, *coming):
            _attend(visitor, view)
        for fd, visitor in list(self._visitors.items()):
            if visitor.over or now >= visitor.until:
                visitor.sock.close()
                del self._visitors[fd]

    def _accepted(self, door: socket.socket, now: float) -> Iterable[socket.socket]:
        for _ in range(self._most):
            try:
                sock, _ = door.accept()
            except BlockingIOError:
                return
            except OSError:  # out of descriptors, or gone before it was let in
                self._pause_until = now + VISIT_SECONDS
                return
            self._pause_until = now + PAUSE_SECONDS
            yield sock

    def _enter(self, sock: socket.socket, now: float, *, local: bool) -> Visitor:
        while len(self._visitors) >= self._most:
            slowest = min(self._visitors, key=lambda fd: self._visitors[fd].until)
            self._visitors.pop(slowest).sock.close()
        sock.setblocking(False)
        visitor = Visitor(sock, now + VISIT_SECONDS, local=local)
        self._visitors[sock.fileno()] = visitor
        return visitor


def _attend(visitor: Visitor, view: View) -> None:
    """Take what has come and give what can go; whoever breaks off is over."""
    try:
        if not visitor.left:
            _listen(visitor, view)
        if visitor.left:
            _tell(visitor)
    except BlockingIOError:
        return
    except OSError:
        visitor.over = True


def _listen(visitor: Visitor, view: View) -> None:
    data = visitor.sock.recv(HEAD_BYTES)
    visitor.head += data
    if b"\r\n\r\n" in visitor.head or b"\n\n" in visitor.head:
        visitor.left = memoryview(_response(visitor.head, view, local=visitor.local))
    elif len(visitor.head) >= HEAD_BYTES:
        visitor.left = memoryview(_worded(Answer(431, "the request is too long\n")))
    elif not data:
        visitor.over = True


def _tell(visitor: Visitor) -> None:
    visitor.left = visitor.left[visitor.sock.send(visitor.left) :]
    if not visitor.left:
        visitor.over = True
        visitor.sock.shutdown(socket.SHUT_WR)
        # What is left unread when a socket closes turns the answer into a reset.
        visitor.sock.recv(HEAD_BYTES)


def _response(head: bytes, view: View, *, local: bool) -> bytes:
    method, _, rest = head.split(b"\n", 1)[0].rstrip().decode("latin-1").partition(" ")
    path, _, protocol = rest.partition(" ")
    if not protocol.startswith("HTTP/"):
        return _worded(Answer(400, "that is no HTTP\n"))
    if method not in ("GET", "HEAD"):
        return _worded(Answer(405, "GET is what there is\n"))
    try:
        return _worded(answer(path.partition("?")[0], view, local=local), body=method == "GET")
    except Exception as error:  # noqa: BLE001 - a mistake in telling must not cost the loop a breath
        return _worded(Answer(500, f"{type(error).__name__}\n"))


def _worded(given: Answer, *, body: bool = True) -> bytes:
    data = given.body.encode()
    lines = [
        f"HTTP/1.1 {given.status} {WORDS[given.status]}",
        f"Content-Type: {given.kind}",
        f"Content-Length: {len(data)}",
        "Cache-Control: no-store",
        "Connection: close",
        *(["Allow: GET, HEAD"] if given.status == 405 else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + (data if body else b"")
