"""Connects to a host and port without Python's tables of international names: 0.4 MiB that no ASCII name needs."""

import errno
import socket


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connected socket; OSError when there is none to be had. Looking a name up blocks, whatever the timeout."""
    name = host.encode() if host.isascii() else host  # as text every name goes through the idna codec
    try:
        return socket.create_connection((name, port), timeout)  # type: ignore[arg-type] # it is handed to getaddrinfo
    except (ValueError, OverflowError):  # others name hosts and ports too: a sentinel, a node of a cluster
        raise OSError(errno.EINVAL, "no name of a host, or no port") from None
