"""Carries one job at a time from pause to pause, and has booked what it reaches, each at the moment it counts.

The intent before the files change; after the process was told, what they are now. Which job there is to be, and what
comes of its end, is decided by `applier`; the steps themselves are those of `transaction`.
"""

from typing import Any

from hms_svc.bake import Bake
from hms_svc.candidate import Candidate
from hms_svc.clock import Clock
from hms_svc.conf_file import words
from hms_svc.course import Failure
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed, ready, until
from hms_svc.ledger import Ledger
from hms_svc.pace import Pace
from hms_svc.transaction import apply
from hms_svc.watch import Watch


class Disturbed(Exception):
    """Somebody wrote the files while ours were being checked: see what it is before replacing it."""


class Runner:
    """The running attempt, if any."""

    def __init__(self, clock: Clock, watch: Watch, ledger: Ledger, pace: Pace, bake: Bake) -> None:
        self._clock = clock
        self._watch = watch
        self._ledger = ledger
        self._pace = pace
        self._bake = bake
        self.job: Job | None = None
        self.pause: Pause = 0.0
        self.before: Errand[Any] | None = None  # a reload command of a job that gave way
        self._unanswered: list[Errand[Any]] = []  # questions to the probe that took too long
        self._unmarked: Candidate | None = None  # in the files since this step of the job began

    def wake_at(self) -> float:
        """When to go on, if what is waited for does not come before."""
        return float("inf") if self.job is None else until(self.pause)

    def begin(self, job: Job) -> None:
        """This is the job from now on."""
        candidate = job.candidate
        job.before, job.unanswered = self.before, self._unanswered
        job.intend = lambda: self._intend(candidate)
        job.written = lambda unsynced: self._written(candidate, unsynced)
        job.in_place = lambda: self._ledger.in_place(candidate)
        job.steps = apply(job)
        self._ledger.begin(candidate, job.fresh, self._clock.wall(), checked=bool(job.settings.check))
        self.job, self.pause = job, 0.0

    def _intend(self, candidate: Candidate) -> None:
        self._bake.stop()
        self._ledger.intend(candidate)
        if self._watch.disturbed() and self._pace.may_wait(self._clock.now()):
            self._ledger.called_off()
            self._pace.called_off()
            raise Disturbed

    def _written(self, candidate: Candidate, unsynced: dict[str, OSError]) -> None:
        now = self._clock.now()
        self._ledger.written(candidate, unsynced, now)
        self._pace.told(now)
        self._unmarked = candidate

    def advance(self) -> Job | None:
        """Let the job go on as far as it can without waiting; the job, when that was its end."""
        while (job := self.job) is not None and ready(self.pause, self._clock.now()):
            if self._ends(job):
                return job
        return None

    def _ends(self, job: Job) -> bool:
        """Take it to its next pause, and have booked how far it came; whether it ended there."""
        try:
            goes_on = self._goes_on(job)
        except Disturbed:
            self.job = None
            return False
        self._book(job)
        if not goes_on:
            self.job = None
        return not goes_on

    def _goes_on(self, job: Job) -> bool:
        """Take it to its next pause; False when there is none, for it succeeded or failed."""
        try:
            self.pause = next(job.steps)
        except StopIteration:
            return False
        except StageFailed as failed:
            job.failure = failed.failure
        except MemoryError:
            job.failure = Failure("effective", "out of memory", surroundings=True)
        except OSError as error:
            job.failure = Failure("effective", words(error), surroundings=True)
        except Disturbed:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a patch leads to, it must not stop the next ending
            job.failure = Failure("effective", repr(error))
        return job.failure is None

    def _book(self, job: Job) -> None:
        """How far it came. If the files changed, the process has been told by now, and that came first."""
        if self._unmarked is not None:
            self._watch.mark(self._unmarked.texts)
            self._unmarked = None
        self._ledger.reached(job.fresh, job.stages, self._clock.wall())
        job.stages.clear()
        if job.patient:
            self._ledger.waits(job.candidate.ids)

    def abandon(self) -> None:
        """Let go of the job: its temp files are removed."""
        if self.job is not None:
            if self.job.placed and isinstance(self.pause, Errand):
                self._leave_alone(self.pause, told=self.job.told)
            self.job.steps.close()
            self.job = None

    def _leave_alone(self, errand: Errand[Any], *, told: bool) -> None:
        """Nobody waits for it any longer, but its like must not begin before it has ended."""
        if told:
            self._unanswered.append(errand)
        else:
            self.before = errand
