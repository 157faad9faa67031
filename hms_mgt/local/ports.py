"""Free ports on loopback, kept over restarts: sidecars that outlived the control plane know the old ones."""

import json
import socket
import time
from pathlib import Path

_PATIENCE_S = 3.0


class Ports:
    """The ports of one data directory."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._known: dict[str, int] = json.loads(record.read_text()) if record.exists() else {}

    def get(self, name: str) -> int:
        """Return the port `name` had before if it is free again, else a free one."""
        known = self._known.get(name)
        if known is None or not _becomes_free(known):
            self._known[name] = _any_free()
            self._record.write_text(json.dumps(self._known))
        return self._known[name]


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether something may listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _becomes_free(port: int) -> bool:
    """Wait a little: who held the port may be on its way out."""
    deadline = time.monotonic() + _PATIENCE_S
    while not is_free(port):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _any_free() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
