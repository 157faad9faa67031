"""Where the tests keep what they start, and the database they share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hms_mgt.local.postgres import Postgres
from hms_mgt.store.migrate import upgrade
from hms_mgt.store.tables import metadata


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that Postgres' own user may pass through; pytest's is closed to others."""
    with tempfile.TemporaryDirectory(prefix="hms-local-", ignore_cleanup_errors=True) as path:
        yield Path(path).resolve()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a private, migrated Postgres."""
    with tempfile.TemporaryDirectory(prefix="hms-local-", ignore_cleanup_errors=True) as path:
        server = Postgres(Path(path) / "postgres")
        upgrade(server.url)
        yield server.url
        server.stop()


@pytest.fixture
def database(postgres: str) -> str:
    """The URL of a migrated database with nothing in it."""
    with psycopg.connect(postgres) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE")
    return postgres
