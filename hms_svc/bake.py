"""Decides when files in effect have proven themselves: after `HMS_BAKE` seconds without a break.

Looks at the served process at each tick meanwhile, and asks the probe once more at the end. A process that ended, was
replaced or no longer shows the configuration starts the time anew; nothing else comes of it here.
"""

from collections.abc import Iterator

from hms_svc import process
from hms_svc.candidate import Candidate
from hms_svc.clock import TICK_SECONDS, Clock
from hms_svc.effect import confirm
from hms_svc.errand import Bell
from hms_svc.job import Job, Pause, StageFailed, ready, until
from hms_svc.process import Process, ProcessRefused
from hms_svc.settings import Settings


class Bake:
    """The files that are being proven, if any. `now` is the monotonic clock."""

    def __init__(self, settings: Settings, bell: Bell, clock: Clock) -> None:
        self._settings = settings
        self._bell = bell
        self._clock = clock
        self._candidate: Candidate | None = None
        self._process: Process | None = None
        self._look_at = self._until = 0.0
        self._proof: Job | None = None
        self._steps: Iterator[Pause] | None = None
        self._pause: Pause = 0.0

    def begin(self, candidate: Candidate, now: float) -> None:
        """These files are in effect from now on."""
        self.stop()
        self._candidate, self._process = candidate, self._find()
        self._look_at = now + min(TICK_SECONDS, self._settings.bake)
        self._until = now + self._settings.bake

    def stop(self) -> None:
        """They are in effect no more, or that is no longer sure."""
        self._candidate = self._proof = self._steps = None

    def wake_at(self) -> float:
        """When to look again."""
        if self._candidate is None:
            return float("inf")
        if self._proof is None:
            return self._look_at
        return until(self._pause)

    def step(self, now: float) -> Candidate | None:
        """Do what is due; the files, once they have proven themselves."""
        if self._candidate is not None and self._proof is None and now >= self._look_at:
            self._look(self._candidate, now)
        return self._follow(now)

    def _look(self, candidate: Candidate, now: float) -> None:
        self._look_at = min(now + TICK_SECONDS, max(self._until, now))
        if not self._same_process():
            self.begin(candidate, now)
        elif now >= self._until:
            self._proof = Job(self._settings, self._bell, self._clock, candidate)
            self._proof.reloaded = True  # asking is all: a process that answers wrongly is not told again from here
            self._steps, self._pause = confirm(self._proof), 0.0

    def _find(self) -> Process | None:
        try:
            return process.find(self._settings.pidfile, self._settings.process)
        except ProcessRefused:
            return None

    def _same_process(self) -> bool:
        """Whether it has been there all the time, where one is known."""
        if not (self._settings.pidfile or self._settings.process):
            return True
        try:
            return self._process is not None and process.alive(self._process)
        except ProcessRefused:
            return False

    def _follow(self, now: float) -> Candidate | None:
        candidate, proof, steps = self._candidate, self._proof, self._steps
        while candidate and proof and steps and ready(self._pause, self._clock.now()):
            try:
                self._pause = next(steps)
            except StopIteration:
                self.stop()
                return candidate
            except StageFailed:
                self.begin(candidate, now)
                return None
            if proof.patient:
                self.begin(candidate, now)
                return None
        return None
