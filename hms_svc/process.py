"""Finds the served process and signals it: exactly that one, or none.

Between looking a process up and signalling it the number can be given to another process. So the process is
held by a pidfd first, and its name and start time are compared after: the signal goes to what was looked at
or nowhere. Never PID 1 (with a shared PID namespace that is the pod's pause container) and never the agent
itself.
"""

import os
import signal
import time
from typing import NamedTuple

from hms_svc.scarcity import scarce

COMM_BYTES = 15  # the kernel keeps this much of a name
PROC_BYTES = 4096
PID_DIGITS = 10


class ProcessRefused(Exception):
    """The process cannot or must not be signalled; the text says why and what to set."""


class ProcessUnseen(ProcessRefused):
    """There was too little of something to look for it: whether it runs is not known."""


class Process(NamedTuple):
    """A process as looked up. `started` is in clock ticks since boot."""

    pid: int
    name: str
    started: int
    parent: int


def ticks() -> int:
    """Now, as `started` counts."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def _read(path: str) -> bytes:
    """The beginning of a small file; nothing when it cannot be read; ProcessUnseen when it can later, maybe."""
    try:
        return _content(path)
    except OSError as error:
        _pass_on(error)
        return b""


def _content(path: str) -> bytes:
    """The beginning of a small file; OSError when it cannot be read. A pipe there is not waited for."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        return os.read(fd, PROC_BYTES)
    finally:
        os.close(fd)


def _pass_on(error: OSError) -> None:
    """ProcessUnseen, where an error says nothing about the process."""
    if scarce(error):
        raise ProcessUnseen(f"cannot look for the process: {error.strerror}") from None


def look(pid: int) -> Process | None:
    """The live process of that number; None when there is none (a zombie is none)."""
    raw = _read(f"/proc/{pid}/stat")
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
    leader = _leader(pid)
    if leader != pid:
        raise ProcessRefused(f"{pidfile} names {pid}, which is a thread of pid {leader}: it must name the process")
    if name and process.name != name[:COMM_BYTES]:
        raise ProcessRefused(f"{pidfile} names pid {pid}, which is {process.name!r} and not {name!r}: not signalled")
    _guard(process)
    return process


def _read_pid(pidfile: str) -> int:
    """The number in the first line; 0 while there is none, as when a process is just writing it."""
    try:
        raw = _content(pidfile)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        _pass_on(error)
        raise ProcessRefused(f"cannot read {pidfile}: {error.strerror}") from None
    text = raw.strip().partition(b"\n")[0].strip()
    if not text:
        return 0
    if not text.isdigit() or len(text) > PID_DIGITS:
        raise ProcessRefused(f"{pidfile} holds no process number: {text[:20].decode('utf-8', 'replace')!r}")
    return int(text)


def _leader(pid: int) -> int:
    """The process a number belongs to: threads have numbers of their own, and /proc shows them when asked by number."""
    _, _, rest = _read(f"/proc/{pid}/status").partition(b"\nTgid:")
    leader = rest.partition(b"\n")[0].strip()
    return int(leader) if leader.isdigit() else pid


def _entries() -> list[str]:
    try:
        return os.listdir("/proc")  # noqa: PTH208 - pathlib costs a megabyte
    except OSError as error:
        _pass_on(error)
        return []


def _by_name(name: str) -> Process | None:
    wanted = name[:COMM_BYTES]
    alike = {}
    for entry in _entries():
        # Reading a name costs a fraction of reading the rest.
        alike_by_name = entry.isdigit() and _read(f"/proc/{entry}/comm").removesuffix(b"\n") == wanted.encode()
        process = look(int(entry)) if alike_by_name else None
        if process is not None:
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


def workers(process: Process) -> frozenset[tuple[int, int]]:
    """The children that share its name, by number and start: what a master replaces when it reloads."""
    pids = _read(f"/proc/{process.pid}/task/{process.pid}/children").split()
    found = [look(int(pid)) for pid in pids if pid.isdigit()]
    return frozenset((child.pid, child.started) for child in found if child and child.name == process.name)


def would_die(process: Process, number: int) -> bool:
    """Whether a signal that means a reload would end it: not handled, not ignored, not blocked to be waited for.

    A signal that ends processes (TERM) is sent on purpose, to one that is started again.
    """
    if number not in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        return False
    status = _read(f"/proc/{process.pid}/status")
    prepared = (b"SigCgt", b"SigBlk", b"SigIgn")
    masked = any(_mask(status, name) >> (number - 1) & 1 for name in prepared)
    return bool(status) and not masked and not waits(process.pid)


def waits(pid: int) -> bool:
    """Whether it sleeps in sigwait: it takes what it had blocked, which /proc shows as not blocked until it wakes."""
    return b"sigtimedwait" in _read(f"/proc/{pid}/wchan")


def _mask(status: bytes, name: bytes) -> int:
    _, _, rest = status.partition(b"\n" + name + b":")
    return int(rest.partition(b"\n")[0].strip() or b"0", 16)


def send(process: Process, number: int) -> bool:
    """Signal that very process; False when it is gone; ProcessRefused when we may not."""
    _guard(process)
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except OSError as error:
        _pass_on(error)
        raise ProcessRefused(f"cannot hold pid {process.pid} ({process.name}): {error.strerror}") from None
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
    except OSError as error:  # a filter of system calls may answer anything
        _pass_on(error)
        raise ProcessRefused(f"cannot signal pid {process.pid} ({process.name}): {error.strerror}") from None
    finally:
        os.close(handle)
    return True
