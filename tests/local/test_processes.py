"""Processes told to end: who hears that they did finds none of them, not even a dead one that still holds its pid."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hms_mgt.orchestrators import processes
from hms_mgt.orchestrators.processes import Mark

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(60)
"""
_PATIENCE_S = 20.0


def started(log: Path) -> Mark:
    """Start a process that does not heed SIGTERM."""
    mark = processes.start((sys.executable, "-c", _STUBBORN), {}, log)
    deadline = time.monotonic() + _PATIENCE_S
    while log.read_text() != "deaf\n":
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.005)
    return mark


@pytest.fixture
def stubborn(tmp_path: Path) -> Iterator[Mark]:
    mark = started(tmp_path / "log")
    yield mark
    processes.stop([mark], 0)


def test_one_that_must_be_killed_is_waited_for_and_reaped(stubborn: Mark) -> None:
    processes.stop([stubborn], 0.2)
    assert not psutil.pid_exists(stubborn.pid)


def test_one_that_dies_while_it_is_looked_at_is_reaped(stubborn: Mark, monkeypatch: pytest.MonkeyPatch) -> None:
    real = psutil.Process

    def dies(pid: int) -> psutil.Process:
        seen = real(pid)
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + _PATIENCE_S
        while seen.status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
        return seen

    with monkeypatch.context() as patched:
        patched.setattr(psutil, "Process", dies)
        assert not processes.alive(stubborn)
    assert not psutil.pid_exists(stubborn.pid)
