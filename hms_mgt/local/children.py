"""Child processes of `hms-mgt up`: started, watched, started again when they die, and ended together."""

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_PR_SET_PDEATHSIG = 1
_PATIENCE_S = 8.0
_LONGEST_PAUSE_S = 10.0
_libc = ctypes.CDLL(None)


class Spec(NamedTuple):
    """How to start one child."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]


class Children:
    """The children, in the order they were started. They are ended in the reverse order."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._specs: dict[str, Spec] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._deaths: dict[str, int] = {}
        self._start_at: dict[str, float] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, spec: Spec) -> None:
        """Start a child; its output goes to a log file of its name."""
        self._specs[spec.name] = spec
        with self.log(spec.name).open("ab") as log:
            self._running[spec.name] = subprocess.Popen(
                spec.command,
                env={**os.environ, **spec.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # A Ctrl-C in the terminal is for us: we end the children in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - nothing here has threads yet
            )

    def log(self, name: str) -> Path:
        """Name the file a child's output goes to."""
        return self._logs / f"{name}.log"

    def watch(self) -> list[str]:
        """Start again what died, at once the first time and ever later if it keeps dying. Returns who died."""
        died = []
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                died.append(f"{name} ended with {process.returncode}")
                del self._running[name]
                self._deaths[name] = self._deaths.get(name, 0) + 1
                pause = min(_LONGEST_PAUSE_S, 0.1 * 2 ** self._deaths[name])
                self._start_at[name] = time.monotonic() + pause
        for name in [name for name, at in self._start_at.items() if at <= time.monotonic()]:
            del self._start_at[name]
            # A failpoint kills once, not at every start.
            self.start(self._specs[name]._replace(environment=_without_failpoint(self._specs[name])))
        return died

    def stop(self, name: str) -> None:
        """End one child: SIGTERM, patience, SIGKILL."""
        process = self._running.pop(name, None)
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def stop_all(self) -> None:
        """End every child, the last started first."""
        self._start_at.clear()
        for name in reversed(list(self._specs)):
            self.stop(name)


def _without_failpoint(spec: Spec) -> Mapping[str, str]:
    return {**spec.environment, "HMS_FAILPOINT": ""}


def _die_with_parent() -> None:
    """Have the kernel end this child when `up` is killed: only the served fleet outlives it."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
