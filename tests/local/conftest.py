"""Where the tests keep what they start, and the database they share."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that Postgres' own user may pass through; pytest's is closed to others."""
    with tempfile.TemporaryDirectory(prefix="hms-local-", ignore_cleanup_errors=True) as path:
        yield Path(path).resolve()
