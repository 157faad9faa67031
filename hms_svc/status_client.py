"""Asks the agent that runs beside: who holds its state directory, and what it answers on its socket.

Looks, and takes nothing: trying the lock would be a moment in which an agent that starts finds it taken.
"""

import os
import socket
import time
from typing import NamedTuple

from hms_svc.listener import SOCKET

ANSWER_SECONDS = 3.0
MOST_BYTES = 4 * 1024 * 1024


class Reply(NamedTuple):
    """Status and body; status 0 when nobody answers."""

    status: int
    body: str


def holder(directory: str) -> int | None:
    """The process that holds the state directory's lock, as far as the kernel shows it; None when none does."""
    try:
        inode = os.stat(f"{directory}/lock").st_ino  # noqa: PTH116 - as everywhere here
        with open("/proc/locks") as locks:  # noqa: PTH123 - as above
            lines = [line.split() for line in locks]
    except OSError:
        return None
    # `1: FLOCK ADVISORY WRITE 4711 00:2f:123456 0 EOF`; who waits for a lock has an arrow before that.
    held = [line for line in lines if len(line) > 5 and line[1] == "FLOCK" and line[5].rpartition(":")[2] == str(inode)]
    return int(held[0][4]) if held else None


def ask(directory: str, path: str) -> Reply:
    """What the agent answers, within `ANSWER_SECONDS`; PermissionError when it is somebody else's."""
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        raw = _exchange(directory, f"GET {path} HTTP/1.1\r\n\r\n".encode(), deadline)
    except PermissionError:
        raise
    except OSError:
        return Reply(0, "")
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return Reply(int(words[1]) if len(words) > 1 and words[1].isdigit() else 0, body.decode("utf-8", "replace"))


def _exchange(directory: str, request: bytes, deadline: float) -> bytes:
    held = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(ANSWER_SECONDS)
            sock.connect(f"/proc/self/fd/{held}/{SOCKET}")
            sock.sendall(request)
            return _everything(sock, deadline)
    finally:
        os.close(held)


def _everything(sock: socket.socket, deadline: float) -> bytes:
    raw = b""
    while len(raw) < MOST_BYTES and (left := deadline - time.monotonic()) > 0:
        sock.settimeout(left)
        chunk = sock.recv(65536)
        if not chunk:
            return raw
        raw += chunk
    raise TimeoutError
