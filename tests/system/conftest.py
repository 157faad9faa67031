"""One system for each module, in a directory of its own, gone afterwards; its logs are shown when a test fails."""

import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from .system import System, require_real_parts

_TAIL = 3000


@pytest.fixture(scope="module")
def new_system() -> Iterator[System]:
    """A system that was not started yet."""
    require_real_parts()
    # Not pytest's own directory: Postgres runs as another user here, and pytest closes that to others at each start.
    with tempfile.TemporaryDirectory(prefix="hms-system-") as place:
        made = System(Path(place))
        try:
            yield made
        finally:
            made.destroy()


@pytest.fixture(scope="module")
def system(new_system: System) -> System:
    """A running system with three instances behind nginx."""
    new_system.start()
    return new_system


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the system's logs to the report of a failed test."""
    report = yield
    made = getattr(item, "funcargs", {}).get("new_system")
    if report.failed and isinstance(made, System):
        report.sections += _logs(made)
    return report


def _logs(made: System) -> list[tuple[str, str]]:
    paths = [made.output, *made.data.glob("logs/*.log"), *made.data.glob("instances/*/*/s*.log")]
    return [(str(path), path.read_text(errors="replace")[-_TAIL:]) for path in paths if path.exists()]
