"""Brings the files to what is wanted: starts attempts, follows them, draws the conclusions.

Decides when an attempt starts or gives way; `course` decides what is in it, `transaction` carries it out, `ledger`
books it. Additions wait for a running attempt, so a burst of changes is one more reload and not fifty, and start at
least `SPACING_SECONDS` apart. An ending does not wait, for a window's end is a promise: it takes over whatever is
under way, and only changes the process is told of are `ENDING_SPACING_SECONDS` apart.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from hms_svc.bake import Bake
from hms_svc.candidate import Candidate, make
from hms_svc.clock import Clock
from hms_svc.conf_file import peek, sweep, words
from hms_svc.course import RETRY_FIRST_SECONDS, Course, Failure
from hms_svc.errand import Bell, Errand
from hms_svc.job import Job, Pause, StageFailed, ready
from hms_svc.ledger import Ledger
from hms_svc.messages import Patch
from hms_svc.render import templates
from hms_svc.settings import Settings
from hms_svc.transaction import ENDING_CHECK_SECONDS, apply
from hms_svc.watch import STEADY_SECONDS, Sight, Watch

SPACING_SECONDS = 0.25
ENDING_SPACING_SECONDS = 0.1
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
        journal = ledger.journal
        self._course = Course(journal.active, journal.blocked, journal.suspects)
        self._bake = Bake(settings, bell, clock)
        self._job: Job | None = None
        self._pause: Pause = 0.0
        self._started = self._told_at = float("-inf")  # the last attempt, and the last change the process was told of
        self._late_since: float | None = None  # patches that have ended are in the files
        self._usable: dict[str, str] | None = None  # the templates the last candidate was made of
        self._before: Errand[Any] | None = None  # a reload command of an attempt that gave way
        self._waiting_since: float | None = None  # somebody else is writing the files
        self._resume_at = 0.0
        self._aim: Aim | None = None  # what the running attempt, or else the last one, is about
        self._done = False  # that attempt succeeded, and nobody has touched the files since
        self._goal: Aim = ()  # what the next attempt would be about
        self._wanted: tuple[int, ...] = ()
        self.effective: Candidate | None = None
        self.last_apply: float | None = None  # how many seconds it took
        sweep(settings.paths)
        if journal.attempt is not None and journal.attempt.open:
            ledger.resume(peek(settings.conf))

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
        return f"{trouble.stage}: {trouble.detail}" if trouble else self._ledger.trouble()

    def undisturbed(self, now: float) -> bool:
        """Whether a tick leaves nothing to do: no attempt is under way, and nobody else wrote."""
        return self._job is None and self._watch.undisturbed(now)

    def wake_at(self) -> float:
        """When to step again, if no tick finds anything before."""
        times = [*self._ledger.wake_at(), self._bake.wake_at()]
        if self._may_look():
            times.append(self._watch.wake_at())
        if self._job is None and not self._settled():
            times.append(self._earliest())
        if self._job is not None and isinstance(self._pause, float):
            times.append(self._pause)
        return min(times, default=float("inf"))

    def hold(self, revision: int, patches: dict[int, Patch]) -> None:
        """The stream moved on: remember it, forget what it dropped, and do not wait with trying again."""
        self._course.forget(patches)
        self._course.hurry()
        self._ledger.hold(revision, patches, self._course)

    def leave(self) -> None:
        """The agent was told to end."""
        self._abandon()
        self._ledger.leave()

    def step(self, wanted: Sequence[Patch]) -> None:
        """Do what is due."""
        now = self._clock.now()
        self._wanted = tuple(patch.id for patch in wanted)
        if self._may_look() and now >= self._watch.next_look:
            self._look(now)
        self._advance()
        layers = self._course.choose(wanted)
        self._goal = tuple((layer.id, layer.changes) for layer in layers)
        self._mind_endings(now)
        if self._gives_way(now):
            self._abandon()
        if self._should_start(now) and self._on_firm_ground(now):
            self._start(layers, now)
        proven = self._bake.step(now)
        if proven is not None:
            self._ledger.promote(proven)
        self._ledger.settle(now)

    def _mind_endings(self, now: float) -> None:
        """Remember since when patches that have ended, or failed, are in the files."""
        if not self._ledger.ends(set(self._wanted) - set(self._course.blocked)):
            self._late_since = None
        elif self._late_since is None:
            self._late_since = now

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
            self._bake.stop()
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
        if self._job.patient:
            return True
        ended = set(self._job.candidate.ids) - {patch_id for patch_id, _ in self._goal}
        if not ended:
            return False
        return not self._job.placed or now >= self._told_at + ENDING_SPACING_SECONDS

    def _earliest(self) -> float:
        late = self._late_since is not None
        free_at = self._told_at + ENDING_SPACING_SECONDS if late else self._started + SPACING_SECONDS
        return max(self._course.retry_at, self._resume_at, free_at)

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
            texts = self._templates()
            candidate = make(self._base(), layers, self._settings.conf, texts)
        except OSError as error:
            self._failed(ids, Failure("checked", words(error), surroundings=True))
        except Exception as error:  # noqa: BLE001 - whatever a patch does to the fold, it must not stop the next ending
            self._failed(ids, Failure("checked", str(error) or repr(error)))
        else:
            self._usable = texts
            self._begin(candidate)

    def _base(self) -> str:
        return self._ledger.journal.base or ""

    def _templates(self) -> dict[str, str]:
        """As they are now; when they cannot be read and a patch has to go, as they last were."""
        try:
            return templates(self._settings.render)
        except OSError:
            if self._late_since is None or self._usable is None:
                raise
            return self._usable

    def _begin(self, candidate: Candidate, *, fallback: bool = False) -> None:
        journal = self._ledger.journal
        job = Job(self._settings, self._bell, self._clock, candidate)
        job.fallback = fallback
        job.fresh = () if fallback else tuple(self._course.fresh(candidate.ids))
        job.ends = self._late_since is not None
        job.check_by = (self._late_since or self._clock.now()) + ENDING_CHECK_SECONDS
        known = bool(self._settings.check) and any(good.texts == candidate.texts for good in journal.good)
        job.proven = fallback or known
        job.before = self._before
        again = self._course.trouble is not None and not fallback
        job.must_reload = again or not (journal.untouched or journal.effective_sha == candidate.sha)
        job.intend = lambda: self._intend(candidate)
        job.written = lambda unsynced: self._written(candidate, unsynced)
        job.in_place = lambda: self._ledger.in_place(candidate)
        job.steps = apply(job)
        if (perished := self._ledger.perished(job.fresh)) is not None:
            self._failed(candidate.ids, perished)
            return
        self._ledger.begin(candidate, job.fresh, self._clock.wall(), checked=bool(self._settings.check))
        self._job, self._pause = job, 0.0
        self._advance()

    def _intend(self, candidate: Candidate) -> None:
        self._bake.stop()
        self._ledger.intend(candidate)
        if self._watch.disturbed() and self._may_wait(self._clock.now()):
            raise Disturbed

    def _written(self, candidate: Candidate, unsynced: dict[str, OSError]) -> None:
        now = self._clock.now()
        self._ledger.written(candidate, unsynced, now)
        self._told_at = now
        self._watch.mark(candidate.texts)

    def _advance(self) -> None:
        """Let the running attempt go on as far as it can without waiting."""
        while self._job is not None and ready(self._pause, self._clock.now()):
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
        if job.patient:
            self._ledger.waits(job.candidate.ids)
        if ended:
            self._job = None
            self._conclude(job, outcome)

    def _abandon(self) -> None:
        if self._job is not None:
            if self._job.placed and not self._job.told and isinstance(self._pause, Errand):
                self._before = self._pause
            self._job.steps.close()
            self._job = None

    def _conclude(self, job: Job, outcome: Failure | None) -> None:
        if outcome is not None:
            self._failed(job.candidate.ids, outcome, fallback=job.fallback)
            return
        self.effective, self._waiting_since = job.candidate, None
        self.last_apply = round(self._clock.now() - self._started, 4)
        if not job.fallback:
            self._course.succeeded(job.candidate.ids)
            self._done = True
        self._ledger.effective(job.candidate, self._course, self._clock.wall())
        self._bake.begin(job.candidate, self._clock.now())

    def _failed(self, ids: tuple[int, ...], failure: Failure, *, fallback: bool = False) -> None:
        self._done, self._waiting_since = False, None
        self._bake.stop()
        if fallback:
            self._ledger.failed(ids, (), failure, self._course, wall=self._clock.wall())
            return
        if failure.surroundings and self._late_since is not None and self._course.fresh(ids):
            failure = failure._replace(hasty=True)  # an ending asks less of the disk than what is new
        known = self._course.trouble
        blamed = self._course.failed(ids, failure, self._clock.now())
        if self._late_since is not None:
            self._course.no_later_than(self._clock.now() + RETRY_FIRST_SECONDS)
        newly = self._course.blocked.keys() & set(blamed)  # a trouble that stands does not speak for these
        said = self._course.trouble is not None and self._course.trouble == known and not newly
        self._ledger.failed(ids, blamed, failure, self._course, wall=self._clock.wall(), said=said)
        if self._course.trouble is not None and failure.stage == "checked" and not failure.surroundings:
            self._fall_back()

    def _fall_back(self) -> None:
        """What should be cannot be: have at least files on disk that once worked, without any ended patch."""
        good = self._ledger.journal.last_good(self._wanted, self._settings.paths) or self._bare()
        if good is not None and good != self.effective:
            self._begin(good, fallback=True)

    def _bare(self) -> Candidate | None:
        """The base alone, where a patch that has ended is in the files: a check that takes nothing may not keep it."""
        if self._late_since is None or self._usable is None:
            return None
        try:
            return make(self._base(), (), self._settings.conf, self._usable)
        except ValueError:
            return None
