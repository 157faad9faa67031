"""Brings the files to what is wanted: starts attempts, follows them, draws the conclusions.

`course` decides what is in an attempt, `pace` when it may start, `drafts` makes its files, `transaction` carries it
out, `ledger` books it. Additions wait for a running attempt; an ending takes over whatever is under way.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from hms_svc.bake import Bake
from hms_svc.candidate import Candidate
from hms_svc.clock import Clock
from hms_svc.conf_file import peek, sweep, words
from hms_svc.course import RETRY_FIRST_SECONDS, Course, Failure
from hms_svc.drafts import Drafts
from hms_svc.errand import Bell, Errand
from hms_svc.job import Job, Pause, StageFailed, ready, until
from hms_svc.ledger import Ledger
from hms_svc.messages import Patch
from hms_svc.pace import Pace
from hms_svc.settings import Settings
from hms_svc.transaction import apply
from hms_svc.watch import Sight, Watch

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
        self._pace = Pace()
        self._drafts = Drafts(settings, journal)
        self._bake = Bake(settings, bell, clock)
        self._job: Job | None = None
        self._pause: Pause = 0.0
        self._before: Errand[Any] | None = None  # a reload command of an attempt that gave way
        self._unanswered: list[Errand[Any]] = []  # questions to the probe that took too long
        self._aim: Aim | None = None  # what the running attempt, or else the last one, is about
        self._unmarked: Candidate | None = None  # in the files since this step of the attempt began
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
        trouble, job = self._course.trouble, self._job
        if trouble is not None:
            return f"{trouble.stage}: {trouble.detail}"
        absent = f"effective: {job.served.words()}" if job and job.patient and job.served.absent else ""
        return "; ".join(filter(None, (absent, self._ledger.trouble())))

    def undisturbed(self, now: float) -> bool:
        """Whether there is nothing to do: no attempt is under way, and nobody else wrote."""
        return self._job is None and self._watch.undisturbed(now)

    def wake_at(self) -> float:
        """When to step again, if no look finds anything before."""
        times = [*self._ledger.wake_at(), self._bake.wake_at()]
        if self._may_look():
            times.append(self._watch.wake_at())
        if self._job is None and not self._settled():
            times.append(self._earliest())
        if self._job is not None:
            times.append(until(self._pause))
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
        self._pace.mind(late=self._ledger.ends(set(self._wanted) - set(self._course.blocked)), now=now)
        if self._gives_way(now):
            self._abandon()
        if self._should_start(now) and self._on_firm_ground(now):
            self._start(layers, now)
        proven = self._bake.step(now)
        if proven is not None:
            self._ledger.promote(proven)
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
        if sight == "spoilt":
            self._course.put_back()
        if sight in ("changed", "spoilt"):
            self._done = False
            self._bake.stop()
            self._course.hurry()
            self._abandon()
        return sight

    def _on_firm_ground(self, now: float) -> bool:
        """Whether the files may be replaced now."""
        sight = self._look(now)
        wait = sight == "moving" and self._pace.may_wait(now)
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
        return not self._job.placed or self._pace.may_tell(now)

    def _earliest(self) -> float:
        return max(self._course.retry_at, self._pace.earliest())

    def _should_start(self, now: float) -> bool:
        if self._job is not None or self._settled():
            return False
        if self._aim != self._goal:
            self._course.hurry()
        return now >= self._earliest()

    def _start(self, layers: Sequence[Patch], now: float) -> None:
        self._aim, self._done, self._pace.started = self._goal, False, now
        ids = tuple(layer.id for layer in layers)
        try:
            candidate = self._drafts.of(layers, late=self._pace.late_since is not None)
        except OSError as error:
            self._failed(ids, Failure("checked", words(error), surroundings=True))
        except MemoryError:
            self._failed(ids, Failure("checked", "out of memory", surroundings=True))
        except Exception as error:  # noqa: BLE001 - whatever a patch does to the fold, it must not stop the next ending
            self._failed(ids, Failure("checked", str(error) or repr(error)))
        else:
            self._begin(candidate, layers)

    def _begin(self, candidate: Candidate, layers: Sequence[Patch] = (), *, fallback: bool = False) -> None:
        journal = self._ledger.journal
        job = Job(self._settings, self._bell, self._clock, candidate)
        job.fallback = fallback
        job.fresh = () if fallback else tuple(self._course.fresh(candidate.ids))
        job.late_since = self._pace.late_since
        job.unchecked = fallback or (bool(self._settings.check) and journal.worked(candidate))
        job.standing = lambda: self._drafts.standing(layers, job.fresh, self.effective)
        job.before, job.unanswered = self._before, self._unanswered
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
        if self._watch.disturbed() and self._pace.may_wait(self._clock.now()):
            raise Disturbed

    def _written(self, candidate: Candidate, unsynced: dict[str, OSError]) -> None:
        now = self._clock.now()
        self._ledger.written(candidate, unsynced, now)
        self._pace.told(now)
        self._unmarked = candidate

    def _advance(self) -> None:
        """Let the running attempt go on as far as it can without waiting."""
        while self._job is not None and ready(self._pause, self._clock.now()):
            self._next_step(self._job)

    def _next_step(self, job: Job) -> None:
        try:
            ended, outcome = self._taken_on(job)
        except Disturbed:
            self._job = None
            return
        if self._unmarked is not None:  # the process came first
            self._watch.mark(self._unmarked.texts)
            self._unmarked = None
        self._ledger.reached(job.fresh, job.stages, self._clock.wall())
        job.stages.clear()
        if job.patient:
            self._ledger.waits(job.candidate.ids)
        if ended:
            self._job = None
            self._conclude(job, outcome)

    def _taken_on(self, job: Job) -> tuple[bool, Failure | None]:
        """Take it to its next pause; whether it ended there, and what went wrong."""
        try:
            self._pause = next(job.steps)
        except StopIteration:
            return True, None
        except StageFailed as failed:
            return True, failed.failure
        except MemoryError:
            return True, Failure("effective", "out of memory", surroundings=True)
        except Disturbed:
            raise
        except Exception as error:  # noqa: BLE001 - as in _start
            return True, Failure("effective", repr(error))
        return False, None

    def _abandon(self) -> None:
        if self._job is not None:
            if self._job.placed and isinstance(self._pause, Errand):
                self._leave_alone(self._pause, told=self._job.told)
            self._job.steps.close()
            self._job = None

    def _leave_alone(self, errand: Errand[Any], *, told: bool) -> None:
        """Nobody waits for it any longer, but its like must not begin before it has ended."""
        if told:
            self._unanswered.append(errand)
        else:
            self._before = errand

    def _conclude(self, job: Job, outcome: Failure | None) -> None:
        if outcome is not None:
            self._failed(job.candidate.ids, outcome, fallback=job.fallback)
            return
        self.effective = job.candidate
        self._pace.came_to_an_end()
        self.last_apply = round(self._clock.now() - self._pace.started, 4)
        if not job.fallback:
            self._course.succeeded(job.candidate.ids)
            self._done = True
        self._ledger.effective(job.candidate, self._course, self._clock.wall())
        self._bake.begin(job.candidate, self._clock.now())

    def _failed(self, ids: tuple[int, ...], failure: Failure, *, fallback: bool = False) -> None:
        self._done = False
        self._pace.came_to_an_end()
        self._bake.stop()
        if fallback:
            self._ledger.failed(ids, (), failure, self._course, wall=self._clock.wall())
            return
        if failure.surroundings and self._pace.late_since is not None and self._course.fresh(ids):
            failure = failure._replace(hasty=True)  # an ending asks less of the disk than what is new
        known = self._course.trouble
        blamed = self._course.failed(ids, failure, self._clock.now())
        if self._pace.late_since is not None or not set(self._wanted).issuperset(self._ledger.journal.active):
            self._course.no_later_than(self._clock.now() + RETRY_FIRST_SECONDS)  # ended, and not yet gone everywhere
        newly = self._course.blocked.keys() & set(blamed)  # a trouble that stands does not speak for these
        said = self._course.trouble is not None and self._course.trouble == known and not newly
        self._ledger.failed(ids, blamed, failure, self._course, wall=self._clock.wall(), said=said)
        if self._course.trouble is failure and failure.stage == "checked" and not failure.surroundings:
            self._fall_back()

    def _fall_back(self) -> None:
        """What should be cannot be: have at least files on disk that once worked, without any ended patch."""
        good = self._ledger.journal.last_good(self._wanted, self._settings.paths)
        if good is None and self._pace.late_since is not None:
            good = self._drafts.bare()  # a check that takes nothing may not keep a patch that has ended
        if good is not None and (good != self.effective or not self._drafts.in_effect()):
            self._begin(good, fallback=True)
