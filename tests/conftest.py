"""A real Postgres for each test process that asks for one."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from hms_mgt.local.postgres import Postgres
from hms_mgt.store.migrate import upgrade
from hms_mgt.store.tables import metadata


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a private, migrated Postgres, in a directory that its own user may pass through, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="hms-tests-", ignore_cleanup_errors=True) as place:
        server = Postgres(Path(place) / "postgres")
        upgrade(server.url)
        yield server.url
        server.stop()


@pytest.fixture
def database(postgres: str) -> str:
    """The URL of a migrated database with nothing in it."""
    with psycopg.connect(postgres) as connection:
        connection.execute(f"TRUNCATE {', '.join(metadata.tables)} RESTART IDENTITY CASCADE")
    return postgres
