"""Finds the served process and signals it: exactly that one, or none.

Between looking a process up and signalling it the number can be given to another process. So the process is
held by a pidfd first, and its name and start time are compared after: the signal goes to what was looked at
or nowhere. Never PID 1 (with a shared PID namespace that is the pod's pause container) and never the agent
itself.
"""

import os
import signal
from typing import NamedTuple

COMM_BYTES = 15  # the kernel keeps this much of a name


class ProcessRefused(Exception):
    """The process cannot or must not be signalled; the text says why and what to set."""


class Process(NamedTuple):
    """A process as looked up. `started` is in clock ticks since boot."""

    pid: int
    name: str
    started: int
    parent: int


def look(pid: int) -> Process | None:
    """The live process of that number; None when there is none (a zombie is none)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        raw = os.read(fd, 4096)
    except OSError:
        return None
    finally:
        os.close(fd)
    # The name is in brackets and may itself hold brackets and spaces.
    head, _, tail = raw.decode("utf-8", "replace").rpartition(")")
    fields = tail.split()
    if len(fields) < 20 or fields[0] in ("Z", "X"):
        return None
    return Process(pid, head.partition("(")[2], int(fields[19]), int(fields[1]))


def find(pidfile: str, name: str) -> Process | None:
    """The served process by pid file, else by name; None when it does not run; ProcessRefused when it is not ours."""
    if pidfile:
        return _by_pidfile(pidfile, name)
    return _by_name(name) if name else None


def _by_pidfile(pidfile: str, name: str) -> Process | None:
    pid = _read_pid(pidfile)
    process = look(pid) if pid else None
    if process is None:
        return None
    if name and process.name != name[:COMM_BYTES]:
        raise ProcessRefused(f"{pidfile} names pid {pid}, which is {process.name!r} and not {name!r}: not signalled")
    _guard(process)
    return process


def _read_pid(pidfile: str) -> int:
    try:
        fd = os.open(pidfile, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return 0
    try:
        text = os.read(fd, 32).strip()
    except OSError:
        return 0
    finally:
        os.close(fd)
    return int(text) if text.isdigit() else 0


def _by_name(name: str) -> Process | None:
    wanted = name[:COMM_BYTES]
    alike = {}
    for entry in os.listdir("/proc"):  # noqa: PTH208 - pathlib costs a megabyte
        process = look(int(entry)) if entry.isdigit() else None
        if process is not None and process.name == wanted:
            alike[process.pid] = process
    # A master and its workers share a name: the one whose parent has another name is the master.
    tops = [process for process in alike.values() if process.parent not in alike]
    if len(tops) > 1:
        pids = ", ".join(str(process.pid) for process in tops)
        raise ProcessRefused(f"{len(tops)} processes are named {name!r} (pids {pids}): set HMS_PIDFILE to say which")
    if not tops:
        return None
    _guard(tops[0])
    return tops[0]


def _guard(process: Process) -> None:
    if process.pid == 1:
        raise ProcessRefused(f"pid 1 ({process.name!r}) is never signalled: it is the container's init")
    if process.pid == os.getpid():
        raise ProcessRefused("the process found is the agent itself: HMS_PIDFILE or HMS_PROCESS is wrong")


def alive(process: Process) -> bool:
    """Whether it is still the same process."""
    now = look(process.pid)
    return now is not None and now.started == process.started


def send(process: Process, number: int) -> bool:
    """Signal that very process; False when it is gone; ProcessRefused when we may not."""
    _guard(process)
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        now = look(process.pid)
        if now is None or (now.started, now.name) != (process.started, process.name):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        raise ProcessRefused(
            f"not permitted to signal pid {process.pid} ({process.name}): run the agent as the same user"
        ) from None
    finally:
        os.close(handle)
    return True
