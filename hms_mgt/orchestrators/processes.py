"""Processes that outlive whoever started them: started detached, known again by pid and start time."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
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


def writing_to(logs: Iterable[Path]) -> dict[Path, Mark]:
    """Find the processes that `start` gave these logs, also where their starter died before it could note them down.

    A log on standard output is a mark that a process bears from its first instant. Its environment would be none:
    nginx writes its title over it. Of a process and those it started itself this is the first one.
    """
    wanted = {str(log): log for log in logs}
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            log = wanted.get(str(Path(f"/proc/{process.pid}/fd/1").readlink()))
            if log is not None and os.getsid(process.pid) == process.pid:
                found[log] = Mark(process.pid, process.create_time())
    return found


def has_environment(mark: Mark, environment: Mapping[str, str]) -> bool:
    """Tell whether a process was started with exactly this environment."""
    try:
        return psutil.Process(mark.pid).environ() == environment
    except (psutil.Error, OSError):
        return False


def alive(mark: Mark | None) -> bool:
    """Tell whether this very process still runs; a dead child is reaped on the way."""
    if mark is None:
        return False
    runs = _runs(mark)
    if not runs:
        _reap(mark.pid)
    return runs


def _runs(mark: Mark) -> bool:
    try:
        process = psutil.Process(mark.pid)
        return bool(process.create_time() == mark.started and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _reap(pid: int) -> None:
    """Take a dead child's pid back. Only after a look: one that died between the two would stay a zombie for good."""
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        _children.pop(pid, None)


def stop(marks: Iterable[Mark | None], patience_s: float) -> None:
    """End processes together: ask all with SIGTERM, wait, then kill whatever is left of them and their groups.

    Whoever hears that they ended finds none of them: the killed ones are waited for as well.
    """
    ours = [mark for mark in dict.fromkeys(marks) if mark is not None]
    for mark in filter(alive, ours):
        with contextlib.suppress(ProcessLookupError):
            os.kill(mark.pid, signal.SIGTERM)
    _await_end(ours, patience_s)
    for mark in ours:
        sweep(mark)
    _await_end(ours, patience_s)


def sweep(mark: Mark) -> None:
    """Kill what is left of a process and of those it started: a dead nginx master's workers hold on to its port."""
    if alive(mark) or not _taken_by_another(mark):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(mark.pid, signal.SIGKILL)


def _taken_by_another(mark: Mark) -> bool:
    """Tell whether the pid is a later process'. While any of the group lives, the kernel gives its number to nobody."""
    try:
        return bool(psutil.Process(mark.pid).create_time() != mark.started)
    except psutil.NoSuchProcess:
        return False


def _await_end(marks: list[Mark], seconds: float) -> None:
    """Wait until all are gone. One that died but that nobody reaped yet is gone, too."""
    deadline = time.monotonic() + seconds
    while any(map(alive, marks)) and time.monotonic() < deadline:
        time.sleep(0.01)
