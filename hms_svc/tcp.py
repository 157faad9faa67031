"""Connects to a host and port without Python's tables of international names: 0.4 MiB that no ASCII name needs."""

import socket


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """A connected socket; OSError when there is none to be had. Looking a name up blocks, whatever the timeout."""
    name = host.encode() if host.isascii() else host  # as text every name goes through the idna codec
    return socket.create_connection((name, port), timeout)  # type: ignore[arg-type] # it is handed to getaddrinfo
