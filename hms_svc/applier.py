"""Brings the files to what is wanted: decides which attempt there is, and when it starts or gives way.

`course` decides what is in it, `pace` when it may start, `drafts` makes its files, `runner` carries it out, `ledger`
books it, `blame` says why it failed. Additions wait for a running attempt; an ending takes over whatever is under way.
"""

from collections.abc import Sequence

from hms_svc.bake import Bake
from hms_svc.blame import Blame
from hms_svc.candidate import Candidate
from hms_svc.clock import Clock
from hms_svc.conf_file import peek, sweep, words
from hms_svc.course import Course, Failure
from hms_svc.drafts import Drafts
from hms_svc.errand import Bell
from hms_svc.goal import Goal
from hms_svc.job import Job, StageFailed
from hms_svc.ledger import Ledger
from hms_svc.messages import Patch
from hms_svc.pace import Pace
from hms_svc.runner import Runner
from hms_svc.settings import Settings
from hms_svc.watch import Sight, Watch


class Applier:
    """The files' side of the agent. `now` is the monotonic clock."""

    def __init__(self, settings: Settings, bell: Bell, clock: Clock, watch: Watch, ledger: Ledger) -> None:
        self._settings = settings
        self._bell = bell
        self._clock = clock
        self._watch = watch
        self._ledger = ledger
        journal = ledger.journal
        self._course = Course(journal.active, journal.blocked, journal.suspects)
        self._pace = Pace()
        self._goal = Goal()
        self._blame = Blame(clock, ledger, self._course, self._pace)
        self._drafts = Drafts(settings, journal)
        self._bake = Bake(settings, bell, clock)
        self._runner = Runner(clock, watch, ledger, self._pace, self._bake)
        self._wanted: tuple[int, ...] = ()
        self.effective: Candidate | None = None
        self.last_apply: float | None = None  # how many seconds it took
        sweep(settings.paths)
        if journal.attempt is not None and journal.attempt.open:
            ledger.resume(peek(settings.conf))

    # --- what others ask

    @property
    def phase(self) -> str:
        """The state in one word, for reports."""
        if self._runner.job is not None or not (self._goal.settled or self._course.trouble):
            return "applying"
        return "failed" if self._course.blocked or self._course.trouble else "steady"

    def failures(self) -> dict[int, tuple[str, str]]:
        """The patches that failed: at which stage and why."""
        return dict(self._course.blocked)

    def trouble(self) -> str:
        """Why the wanted state cannot be reached, where no patch is to blame."""
        trouble, job = self._course.trouble, self._runner.job
        if trouble is not None:
            return f"{trouble.stage}: {trouble.detail}"
        absent = f"effective: {job.served.words()}" if job and job.patient and job.served.absent else ""
        return "; ".join(filter(None, (absent, self._ledger.trouble())))

    def undisturbed(self, now: float) -> bool:
        """Whether there is nothing to do: no attempt is under way, and nobody else wrote."""
        return self._runner.job is None and self._watch.undisturbed(now)

    def wake_at(self) -> float:
        """When to step again, if no look finds anything before."""
        times = [*self._ledger.wake_at(), self._bake.wake_at(), self._runner.wake_at()]
        if self._may_look():
            times.append(self._watch.wake_at())
        if self._runner.job is None and not self._goal.settled:
            times.append(self._earliest())
        return min(times)

    # --- what it is told

    def hold(self, revision: int, patches: dict[int, Patch]) -> None:
        """The stream moved on: remember it, forget what it dropped, and do not wait with trying again."""
        self._course.forget(patches)
        self._course.hurry()
        self._ledger.hold(revision, patches, self._course)

    def leave(self) -> None:
        """The agent was told to end."""
        self._runner.abandon()
        self._ledger.leave()

    def step(self, wanted: Sequence[Patch]) -> None:
        """Do what is due."""
        now = self._clock.now()
        self._wanted = tuple(patch.id for patch in wanted)
        if self._may_look() and now >= self._watch.next_look:
            self._look(now)
        self._advance()
        layers = self._choose(wanted, now)
        if self._gives_way(now):
            self._runner.abandon()
        if self._should_start(now) and self._on_firm_ground(now):
            self._start(layers, now)
        proven = self._bake.step(now)
        if proven is not None:
            self._ledger.promote(proven)
        self._ledger.settle(now)

    # --- the files as others leave them

    def _may_look(self) -> bool:
        """In the middle of an attempt the files are ours; what others write then is seen after."""
        return self._runner.job is None or self._runner.job.patient

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
            self._pace.taken_in()
            self._goal.lose()
            self._bake.stop()
            self._course.hurry()
            self._runner.abandon()
        return sight

    def _on_firm_ground(self, now: float) -> bool:
        """Whether the files may be replaced now."""
        sight = self._look(now)
        wait = sight == "moving" and self._pace.may_wait(now)
        return sight is not None and self._ledger.journal.base is not None and not wait

    # --- which attempt there is

    def _choose(self, wanted: Sequence[Patch], now: float) -> list[Patch]:
        """What the next attempt would be about, and whether it has to hurry."""
        layers = self._course.choose(wanted)
        self._goal.set(layers)
        self._pace.mind(late=self._ledger.ends(set(self._wanted) - set(self._course.blocked)), now=now)
        return layers

    def _gives_way(self, now: float) -> bool:
        """Whether the running attempt must end for another: additions wait, endings do not."""
        job = self._runner.job
        if job is None or not self._goal.moved:
            return False
        if job.patient:
            return True
        return self._goal.drops(job.candidate.ids) and (not job.placed or self._pace.may_tell(now))

    def _should_start(self, now: float) -> bool:
        if self._runner.job is not None or self._goal.settled:
            return False
        if self._goal.moved:
            self._course.hurry()
        return now >= self._earliest()

    def _earliest(self) -> float:
        return max(self._course.retry_at, self._pace.earliest())

    def _start(self, layers: Sequence[Patch], now: float) -> None:
        self._goal.pursue()
        self._pace.started = now
        try:
            job = self._job(self._drafts.of(layers, late=self._pace.late_since is not None), layers)
        except StageFailed as failed:
            self._failed(tuple(layer.id for layer in layers), failed.failure)
            return
        perished = self._ledger.perished(job.fresh)
        if perished is not None:
            self._failed(job.candidate.ids, perished)
        else:
            self._begin(job)

    def _job(self, candidate: Candidate, layers: Sequence[Patch] = (), *, fallback: bool = False) -> Job:
        """An attempt to make these files real: what may be taken for granted, and what may not."""
        journal = self._ledger.journal
        job = Job(self._settings, self._bell, self._clock, candidate)
        job.fallback = fallback
        job.fresh = () if fallback else tuple(self._course.fresh(candidate.ids))
        job.late_since = self._pace.late_since
        job.unchecked = fallback or (bool(self._settings.check) and journal.worked(candidate))
        job.standing = lambda: self._drafts.standing(layers, job.fresh, self.effective)
        again = self._course.trouble is not None and not fallback
        job.must_reload = again or not (journal.untouched or journal.effective_sha == candidate.sha)
        return job

    def _begin(self, job: Job) -> None:
        self._runner.begin(job)
        self._advance()

    def _advance(self) -> None:
        while (ended := self._runner.advance()) is not None:
            self._conclude(ended)

    # --- what comes of it

    def _conclude(self, job: Job) -> None:
        if job.failure is not None:
            self._failed(job.candidate.ids, job.failure, fallback=job.fallback)
            return
        self.effective = job.candidate
        self._pace.came_to_an_end()
        self.last_apply = round(self._clock.now() - self._pace.started, 4)
        if not job.fallback:
            self._course.succeeded(job.candidate.ids)
            self._goal.reach()
        self._ledger.effective(job.candidate, self._course, self._clock.wall())
        self._bake.begin(job.candidate, self._clock.now())

    def _failed(self, ids: tuple[int, ...], failure: Failure, *, fallback: bool = False) -> None:
        self._goal.lose()
        self._pace.came_to_an_end()
        self._bake.stop()
        if fallback:
            self._ledger.failed(ids, (), failure, self._course, wall=self._clock.wall())
        elif self._blame.lay(ids, failure, self._wanted):
            self._fall_back()

    def _fall_back(self) -> None:
        """What should be cannot be: have at least files on disk that once worked, without any ended patch."""
        late = self._pace.late_since is not None
        good = self._drafts.fallback(self._wanted, self.effective, late=late)
        if good is not None:
            self._begin(self._job(good, fallback=True))
