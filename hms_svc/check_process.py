"""Looks at the served process: is it there, what would the signal do to it, what say check command and probe."""

import os
import signal

from hms_svc import candidate, command, conf_file
from hms_svc import probe as probing
from hms_svc import process as processes
from hms_svc.check_files import Missing
from hms_svc.render import gap_values
from hms_svc.settings import Settings


def process(settings: Settings) -> str:
    """It runs, may be signalled, and knows what to do with the signal."""
    if settings.reload:
        return f"reloaded by a command: {settings.reload[0]} (not run now)"
    if not settings.reloads:
        return "nothing to signal (neither HMS_PIDFILE nor HMS_PROCESS nor HMS_RELOAD is set)"
    found = processes.find(settings.pidfile, settings.process)
    if found is None:
        raise Missing(_nobody(settings))
    try:
        os.kill(found.pid, 0)
    except PermissionError:
        raise Missing(f"pid {found.pid} ({found.name}) is another user's: it may not be signalled") from None
    name = signal.Signals(settings.signal).name if settings.signal < signal.SIGRTMIN else str(settings.signal)
    handled = handles(_status(found.pid), settings.signal)
    if handled != "handles" and not processes.waits(found.pid):
        raise Missing(f"pid {found.pid} ({found.name}) {handled} {name}")
    return f"pid {found.pid} ({found.name}) runs, may be signalled, and handles {name}"


def _nobody(settings: Settings) -> str:
    if not settings.pidfile:
        return f"no process is named {settings.process!r}, as `ps -o comm` shows names"
    if not os.path.exists(settings.pidfile):  # noqa: PTH110 - pathlib costs a megabyte
        return f"there is no pid file {settings.pidfile}: the service does not run, or writes another"
    return f"no process runs with the number in {settings.pidfile}"


def handles(status: str, number: int) -> str:
    """What a process with this /proc/PID/status does on a signal, as a verb."""
    fields = dict(line.partition(":")[::2] for line in status.splitlines())
    caught, blocked, ignored = (int(fields.get(name, "0"), 16) for name in ("SigCgt", "SigBlk", "SigIgn"))
    bit = 1 << (number - 1)
    # Blocked is a way to handle, too: by signalfd or sigwait.
    if (caught | blocked) & bit:
        return "handles"
    return "ignores" if ignored & bit else "has no handler and would be ended by"


def _status(pid: int) -> str:
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - pathlib costs a megabyte
        return file.read()


def check_command(settings: Settings) -> str:
    """It passes on the files as they are."""
    if not settings.check:
        return "candidates are not checked (HMS_CHECK is not set)"
    argv = command.filled(settings.check, [settings.conf, *(target for _, target in settings.render)])
    result = command.run(argv, command.CHECK_SECONDS)
    if result.code is None:
        raise Missing(f"{argv[0]}: no verdict within {command.CHECK_SECONDS:g} s")
    if result.code != 0:
        raise Missing(f"{argv[0]}: {result.words or f'exit {result.code}'}")
    return f"{' '.join(argv)}: passes on the files as they are"


def probe(settings: Settings) -> str:
    """It shows what conf.yml says now."""
    if settings.probe is None:
        return "effect is not probed (no HMS_PROBE_URL, _TCP or _COMMAND): a living process counts as effective"
    text = conf_file.read_text(settings.conf) or ""
    values = gap_values(candidate.mapping(text), text)
    answer = probing.ask(probing.question(settings.probe, values, settings.conf))
    if not answer.matches:
        raise Missing(answer.words)
    return f"{settings.probe.shown}: {answer.words}"
