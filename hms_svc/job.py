"""One attempt to make a candidate real: what it is about, what it may use, and how far it came."""

from collections.abc import Callable, Generator
from typing import TypeAlias

from hms_svc import command, probe, process
from hms_svc.candidate import Candidate
from hms_svc.clock import Clock
from hms_svc.course import Failure
from hms_svc.errand import Bell, Errand
from hms_svc.settings import Settings

Pause: TypeAlias = "Errand[probe.Answer] | Errand[command.Result] | float"


class StageFailed(Exception):
    """The attempt ended at a stage."""

    def __init__(self, stage: str, detail: str, *, surroundings: bool = False, hasty: bool = False) -> None:
        super().__init__(detail)
        self.failure = Failure(stage, detail, surroundings, hasty)


class Job:
    """One attempt: what to make real, what it may use, and how far it came."""

    steps: Generator[Pause, None, None]  # `apply` of this very job, set by whoever starts it

    def __init__(self, settings: Settings, bell: Bell, clock: Clock, candidate: Candidate) -> None:
        self.settings = settings
        self.bell = bell
        self.clock = clock
        self.candidate = candidate
        self.fresh: tuple[int, ...] = ()  # patches in it that have not worked before
        self.ends = False  # patches that have ended are still in the files
        self.proven = False  # these very files worked before: no check needed
        self.must_reload = False  # the process may not know the files even if they are as wanted
        self.intend: Callable[[], None] = lambda: None  # writes the journal; called before any file changes
        self.written: Callable[[], None] = lambda: None  # called after
        self.stages: list[str] = []  # reached and not yet told
        self.patient = False  # waiting for a process that does not run; anything newer may take over
        self.fallback = False  # not what should be, but what worked before
        self.reloaded = False
        self.absent = False
        self.process: process.Process | None = None


def words(error: OSError) -> str:
    """An OSError for a report: what and where."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)
