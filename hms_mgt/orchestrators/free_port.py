"""Free ports on loopback."""

import socket
import time

_LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Tell whether something may listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


def becomes_free(port: int, patience_s: float) -> bool:
    """Wait a little: who held the port may be on its way out."""
    deadline = time.monotonic() + patience_s
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def any_free() -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
