"""The served process as one attempt meets it: who was told, who came since, and what shows that it acted.

A process started after the files were written has read them and is not signalled: it may not have a handler yet. One
that was there before but could not be found (its pid file was just being written), or would have died of the signal
because it had no handler yet, is told as soon as that changes. A master with workers of its own name replaces them when
it reloads, and new ones are a sign that it did.
"""

from hms_svc import process
from hms_svc.process import Process, ProcessRefused
from hms_svc.settings import Settings


class Served:
    """One process during one attempt. Every method may raise ProcessRefused."""

    def __init__(self, settings: Settings) -> None:
        self._pidfile = settings.pidfile
        self._name = settings.process
        self._signal = settings.signal
        self._signals = not settings.reload
        self._process: Process | None = None
        self._told: int | None = None  # when, in ticks since boot; None while there is nothing to tell
        self._workers: frozenset[tuple[int, int]] = frozenset()
        self.known = bool(self._pidfile or self._name)
        self.absent = False  # it does not run, so far: there was nobody to tell
        self.restarted = False  # it is not the one there was when the files were written
        self.told = False  # a signal was sent
        self.deaf: Process | None = None  # it has no handler, so it was spared

    @property
    def untold(self) -> bool:
        """Whether nobody was to be told yet."""
        return self._told is None

    @property
    def unreached(self) -> bool:
        """Whether it was to be told and could not be: not found, or not to be signalled. One without a handler was."""
        return self._signals and not (self.untold or self.told or self.restarted or self.deaf)

    def tell(self) -> bool:
        """Signal it (or, where a command reloads, remember how it looks before); False when it does not run."""
        since, self._told = self._told, self._told or process.ticks()
        found = self._find()
        if found and since and self._signals and found.started >= since:
            self._process, self.restarted, self.absent = found, True, False
            return False
        told = found is not None and self._tell(found)
        self.absent = self._signals and not told and self.deaf is None
        return told

    def _find(self) -> Process | None:
        return process.find(self._pidfile, self._name)

    def _tell(self, found: Process) -> bool:
        self._workers = process.workers(found)
        self.deaf = found if self._signals and process.would_die(found, self._signal) else None
        if self.deaf:
            return False
        if self._signals and not process.send(found, self._signal):
            return False
        self._process, self.told = found, self._signals
        return True

    def follow(self) -> bool:
        """Keep to the process there is now; False when none is."""
        if not self.known:
            return True
        if self._process is not None and self._unchanged(self._process):
            return True
        found, self.deaf = self._find(), None
        if found is None:
            self.absent = self.absent or self._told is None
            return False
        return self._meet(found)

    def _unchanged(self, known: Process) -> bool:
        now = process.look(known.pid)
        return now is not None and (now.started, now.name) == (known.started, known.name)

    def _meet(self, found: Process) -> bool:
        """Another process than the one we knew: tell it, unless it started from the file on disk."""
        known = self._process
        other = known is None or (found.pid, found.started) != (known.pid, known.started)
        if known and other and found.name != known.name and not self._name:
            return False  # somebody else's, who got the number that stands in a pid file nobody cleared
        if other and self._told is not None:
            if self._signals and found.started < self._told:
                return self.tell()
            self.restarted = self.restarted or found.started >= self._told
        self._process, self.absent = found, False
        return True

    def acted(self) -> bool:
        """Whether it was seen to act, or has no workers by which that could be seen."""
        if not self._workers or self._process is None:
            return True
        return bool(process.workers(self._process) - self._workers)

    def words(self) -> str:
        """How it is, for a report."""
        if not self.known:
            return "nothing to look at"
        if self.deaf:
            return f"pid {self.deaf.pid} ({self.deaf.name}) would die of signal {self._signal}: it has no handler"
        if self._process is None:
            return f"no process was found by {self._pidfile or self._name!r}"
        try:
            how = "is alive" if self._unchanged(self._process) else "ended after the reload"
        except ProcessRefused as refusal:
            return str(refusal)
        return f"pid {self._process.pid} ({self._process.name}) {how}"
