"""Brings the files to what is wanted: starts attempts, follows them, draws the conclusions.

Decides when an attempt starts or gives way; `course` decides what is in it, `apply` carries it out, `ledger`
books it. Additions wait for a running attempt, so a burst of changes is one more reload and not fifty; an
ending does not wait, for a window's end is a promise. Attempts start at least `SPACING_SECONDS` apart.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from hms_svc.apply import apply
from hms_svc.candidate import Candidate, make
from hms_svc.clock import Clock
from hms_svc.conf_file import read_text
from hms_svc.course import Course, Failure
from hms_svc.errand import Bell
from hms_svc.job import Job, Pause, StageFailed, words
from hms_svc.ledger import Ledger
from hms_svc.messages import Patch
from hms_svc.settings import Settings
from hms_svc.watch import STEADY_SECONDS, Sight, Watch

SPACING_SECONDS = 0.25
LONGEST_WAIT_SECONDS = 0.3

# What two attempts must have in common to be the same: patches in order, with what they change.
Aim: TypeAlias = tuple[tuple[int, dict[str, Any]], ...]


class Disturbed(Exception):
    """Somebody wrote the files while ours were being checked: see what it is before replacing it."""


class Applier:
    """The files' side of the agent. `now` is the monotonic clock."""

    def __init__(
        self,
        settings: Settings,
        bell: Bell,
        clock: Clock,
        watch: Watch,
        ledger: Ledger,
    ) -> None:
        self._settings = settings
        self._bell = bell
        self._clock = clock
        self._watch = watch
        self._ledger = ledger
        self._course = Course(ledger.journal.active, ledger.journal.blocked)
        self._job: Job | None = None
        self._pause: Pause = 0.0
        self._started = float("-inf")
        self._waiting_since: float | None = None  # somebody else is writing the files
        self._resume_at = 0.0
        self._aim: Aim | None = None  # what the running attempt, or else the last one, is about
        self._done = False  # that attempt succeeded, and nobody has touched the files since
        self._goal: Aim = ()  # what the next attempt would be about
        self._wanted: tuple[int, ...] = ()
        self.effective: Candidate | None = None

    @property
    def phase(self) -> str:
        """The state in one word, for reports."""
        if self._job is not None or not (self._settled() or self._course.trouble):
            return "applying"
        return "failed" if self._course.blocked or self._course.trouble else "steady"

    def failures(self) -> dict[int, tuple[str, str]]:
        """The patches that failed: at which stage and why."""
        return dict(self._course.blocked)

    def trouble(self) -> str:
        """Why the wanted state cannot be reached, where no patch is to blame."""
        trouble = self._course.trouble
        return f"{trouble.stage}: {trouble.detail}" if trouble else ""

    def wake_at(self) -> float:
        """When to step again, if nothing happens before."""
        times = self._ledger.wake_at()
        if self._may_look():
            times.append(self._watch.next_look)
        if self._job is None and not self._settled():
            times.append(self._earliest())
        if self._job is not None and isinstance(self._pause, float):
            times.append(self._pause)
        return min(times, default=float("inf"))

    def hold(self, revision: int, patches: dict[int, Patch]) -> None:
        """The stream moved on: remember it, forget what it dropped, and do not wait with trying again."""
        self._course.forget(patches)
        self._course.hurry()
        self._ledger.hold(revision, patches, self._course.blocked)

    def step(self, wanted: Sequence[Patch]) -> None:
        """Do what is due."""
        now = self._clock.now()
        self._wanted = tuple(patch.id for patch in wanted)
        if self._may_look() and now >= self._watch.next_look:
            self._look(now)
        self._advance()
        layers = self._course.choose(wanted)
        self._goal = tuple((layer.id, layer.changes) for layer in layers)
        if self._gives_way(now):
            self._abandon()
        if self._should_start(now) and self._on_firm_ground(now):
            self._start(layers, now)
        self._ledger.settle(now)

    def _may_look(self) -> bool:
        """In the middle of an attempt the files are ours; what others write then is seen after."""
        return self._job is None or self._job.patient

    def _look(self, now: float) -> Sight | None:
        """See what others wrote; None when there is nothing to build on."""
        try:
            sight = self._watch.look(now)
        except (OSError, ValueError) as error:
            detail = words(error) if isinstance(error, OSError) else f"{self._settings.conf}: {error}"
            self._failed((), Failure("checked", detail, surroundings=True))
            return None
        if sight == "changed":
            self._done = False
            self._course.hurry()
            self._abandon()
        return sight

    def _may_wait(self, now: float) -> bool:
        """Whether there is still time to let somebody finish writing: a window's end waits for nobody for long."""
        if self._waiting_since is None:
            self._waiting_since = now
        self._resume_at = now + STEADY_SECONDS / 2
        return now - self._waiting_since <= LONGEST_WAIT_SECONDS

    def _on_firm_ground(self, now: float) -> bool:
        """Whether the files may be replaced now."""
        sight = self._look(now)
        wait = sight == "moving" and self._may_wait(now)
        return sight is not None and self._ledger.journal.base is not None and not wait

    def _settled(self) -> bool:
        return self._done and self._aim == self._goal

    def _gives_way(self, now: float) -> bool:
        """Whether the running attempt must end for another: additions wait, endings do not."""
        if self._job is None or self._aim == self._goal:
            return False
        ended = set(self._job.candidate.ids) - {patch_id for patch_id, _ in self._goal}
        return self._job.patient or (bool(ended) and now >= self._started + SPACING_SECONDS)

    def _earliest(self) -> float:
        return max(self._course.retry_at, self._resume_at, self._started + SPACING_SECONDS)

    def _should_start(self, now: float) -> bool:
        if self._job is not None or self._settled():
            return False
        if self._aim != self._goal:
            self._course.hurry()
        return now >= self._earliest()

    def _start(self, layers: Sequence[Patch], now: float) -> None:
        self._aim, self._done, self._started = self._goal, False, now
        ids = tuple(layer.id for layer in layers)
        try:
            candidate = make(self._base(), layers, self._settings.conf, self._templates())
        except OSError as error:
            self._failed(ids, Failure("checked", words(error), surroundings=True))
        except Exception as error:  # noqa: BLE001 - whatever a patch does to the fold, it must not stop the next ending
            self._failed(ids, Failure("checked", str(error) or repr(error)))
        else:
            self._begin(candidate)

    def _base(self) -> str:
        return self._ledger.journal.base or ""

    def _templates(self) -> dict[str, str]:
        texts = {}
        for template, target in self._settings.render:
            text = read_text(template)
            if text is None:
                raise FileNotFoundError(2, "the template does not exist", template)
            texts[target] = text
        return texts

    def _begin(self, candidate: Candidate, *, fallback: bool = False) -> None:
        journal = self._ledger.journal
        job = Job(self._settings, self._bell, self._clock, candidate)
        job.fallback = fallback
        job.fresh = () if fallback else tuple(self._course.fresh(candidate.ids))
        job.ends = self._ledger.ends(candidate.ids)
        job.proven = any(good.texts == candidate.texts for good in journal.good)
        again = self._course.trouble is not None and not fallback
        job.must_reload = again or not (journal.untouched or journal.effective_sha == candidate.sha)
        job.intend = lambda: self._intend(candidate)
        job.written = lambda: self._written(candidate)
        job.steps = apply(job)
        self._job, self._pause = job, 0.0
        self._advance()

    def _intend(self, candidate: Candidate) -> None:
        self._ledger.intend(candidate)
        if self._watch.disturbed() and self._may_wait(self._clock.now()):
            raise Disturbed

    def _written(self, candidate: Candidate) -> None:
        self._ledger.written(candidate)
        self._watch.mark()

    def _advance(self) -> None:
        """Let the running attempt go on as far as it can without waiting."""
        while self._job is not None and self._ready():
            self._next_step(self._job)

    def _next_step(self, job: Job) -> None:
        outcome: Failure | None = None
        try:
            self._pause = next(job.steps)
            ended = False
        except StopIteration:
            ended = True
        except Disturbed:
            self._job = None
            return
        except StageFailed as failed:
            ended, outcome = True, failed.failure
        except Exception as error:  # noqa: BLE001 - as in _start
            ended, outcome = True, Failure("effective", repr(error))
        self._ledger.reached(job.fresh, job.stages, self._clock.wall())
        job.stages.clear()
        if ended:
            self._job = None
            self._conclude(job, outcome)

    def _ready(self) -> bool:
        return self._clock.now() >= self._pause if isinstance(self._pause, float) else self._pause.done

    def _abandon(self) -> None:
        if self._job is not None:
            self._job.steps.close()
            self._job = None

    def _conclude(self, job: Job, outcome: Failure | None) -> None:
        if outcome is not None:
            self._failed(job.candidate.ids, outcome, fallback=job.fallback)
            return
        self.effective, self._waiting_since = job.candidate, None
        self._ledger.effective(job.candidate, self._clock.now(), self._clock.wall())
        if not job.fallback:
            self._course.succeeded(job.candidate.ids)
            self._done = True

    def _failed(self, ids: tuple[int, ...], failure: Failure, *, fallback: bool = False) -> None:
        self._done, self._waiting_since = False, None
        if fallback:
            self._ledger.failed(ids, (), failure, self._clock.wall())
            return
        known = self._course.trouble
        blamed = self._course.failed(ids, failure, self._clock.now())
        if self._course.trouble is None or self._course.trouble != known:
            self._ledger.failed(ids, blamed, failure, self._clock.wall())
        if self._course.trouble is not None and failure.stage == "checked" and not failure.surroundings:
            self._fall_back()

    def _fall_back(self) -> None:
        """What should be cannot be: have at least files on disk that once worked, without any ended patch."""
        good = self._ledger.journal.last_good(self._wanted)
        if good is not None and good != self.effective:
            self._begin(good, fallback=True)
