"""One attempt under way: what it is to make real, what it may use, and how far it came.

`transaction` has its steps, `runner` takes them. What of it outlives the agent is an `attempt`.
"""

from collections.abc import Callable, Generator
from typing import TypeAlias

from hms_svc import command, probe
from hms_svc.candidate import Candidate
from hms_svc.clock import Clock
from hms_svc.course import Failure
from hms_svc.errand import Bell, Errand
from hms_svc.served import Served
from hms_svc.settings import Settings

Pause: TypeAlias = "Errand[probe.Answer] | Errand[command.Result] | float"


class StageFailed(Exception):
    """The attempt ended at a stage."""

    def __init__(self, stage: str, detail: str, *, surroundings: bool = False, hasty: bool = False) -> None:
        super().__init__(detail)
        self.failure = Failure(stage, detail, surroundings, hasty)


class Job:
    """One attempt: what to make real, what it may use, and how far it came."""

    steps: Generator[Pause, None, None]  # `apply` of this very job, set by the runner

    def __init__(self, settings: Settings, bell: Bell, clock: Clock, candidate: Candidate) -> None:
        self.settings = settings
        self.bell = bell
        self.clock = clock
        self.candidate = candidate
        self.fresh: tuple[int, ...] = ()  # patches in it that have not worked before
        self.late_since: float | None = None  # since when (monotonic) patches that have ended are in the files
        self.unchecked = False  # no check: these very files worked before
        self.standing: Callable[[], dict[str, str]] = dict  # the files without what is new, to hold the check against
        self.must_reload = False  # the process may not know the files even if they are as wanted
        self.intend: Callable[[], None] = lambda: None  # writes the journal; called before any file changes
        self.written: Callable[[dict[str, OSError]], None] = lambda _: None  # after, with directories that did not sync
        self.in_place: Callable[[], None] = lambda: None  # the files are as wanted, written or found so
        self.placed = False
        self.told = False  # the process has been told, or needs not be
        self.before: Errand[command.Result] | None = None  # a reload of an abandoned attempt, still running
        self.unanswered: list[Errand[probe.Answer]] = []  # questions that nobody waits for any longer
        self.stages: list[str] = []  # reached and not yet told
        self.patient = False  # waiting for a process that does not run; anything newer may take over
        self.fallback = False  # not what should be, but what worked before
        self.reloaded = False
        self.failure: Failure | None = None  # how it ended, unless it succeeded
        self.served = Served(settings)


def ready(pause: Pause, now: float) -> bool:
    """Whether what was waited for is there."""
    return now >= until(pause) or (not isinstance(pause, float) and pause.done)


def until(pause: Pause) -> float:
    """When it is waited for no longer, whatever comes of it."""
    return pause if isinstance(pause, float) else pause.until
