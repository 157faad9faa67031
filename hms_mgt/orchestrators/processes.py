"""Processes that outlive whoever started them: started detached, known again by pid and start time."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

_children: dict[int, subprocess.Popen[bytes]] = {}


class Mark(NamedTuple):
    """A process, told apart from a later one that was given the same pid."""

    pid: int
    started: float


def start(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Mark:
    """Start a process in a session of its own, its output appended to `log`. The environment is all it gets."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    _children[child.pid] = child
    return Mark(child.pid, psutil.Process(child.pid).create_time())


def alive(mark: Mark | None) -> bool:
    """Tell whether this very process still runs; a dead child is reaped on the way."""
    if mark is None:
        return False
    child = _children.get(mark.pid)
    if child is not None and child.poll() is not None:
        del _children[mark.pid]
        return False
    try:
        process = psutil.Process(mark.pid)
        return process.create_time() == mark.started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(mark: Mark | None, patience_s: float) -> None:
    """End a process: ask with SIGTERM, wait, then kill its whole group."""
    if mark is None or not alive(mark):
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(mark.pid, signal.SIGTERM)
    if not _gone_within(mark, patience_s):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(mark.pid, signal.SIGKILL)
        _gone_within(mark, 2.0)


def _gone_within(mark: Mark, seconds: float) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, psutil.TimeoutExpired, ChildProcessError):
        psutil.Process(mark.pid).wait(timeout=seconds)
    return not alive(mark)
