"""Books what attempts achieved: in the journal for our own restart, in receipts for the control plane.

Intent is on disk before any file changes; what came of it is written after the process was told, with the save that
follows anyway. How it gets onto the disk is the business of `safekeeping`.
"""

from collections.abc import Iterable, Sequence

from hms_svc.attempt import MOST_STARTS, Attempt, Stage, Trial
from hms_svc.base_copy import BaseCopy
from hms_svc.candidate import Candidate
from hms_svc.conf_file import sha
from hms_svc.course import Course, Failure
from hms_svc.journal import Imprint, Journal, JournalFile
from hms_svc.log import emit
from hms_svc.messages import Patch
from hms_svc.recovery import suspect
from hms_svc.report import Reporter
from hms_svc.safekeeping import Safekeeping
from hms_svc.wire import rfc3339


class Ledger:
    """The journal and the receipts. `now` is the monotonic clock, `wall` the time of day."""

    def __init__(self, journal: Journal, store: JournalFile, reporter: Reporter, beside: BaseCopy) -> None:
        self.journal = journal
        self._reporter = reporter
        self._disk = Safekeeping(journal, store, reporter, beside)
        self._confirmed: set[int] = set()  # told to be effective since we started
        self._touched = journal.in_files  # were in the files at some time, and not yet told to be reverted
        self._in_files = journal.in_files  # may be in the files now
        self._inherited = journal.trial  # new patches a run of the agent before this one came to no end with
        self._tried = False
        self._shown = ""  # the fingerprint of the files in effect before the intent
        self._told: dict[tuple[int, str], str] = {}  # stages of patches and the words, since anything was effective
        self.attempts: dict[str, int] = {}  # how many came to which end

    def wake_at(self) -> list[float]:
        """When to look again: at an unsaved journal, at a directory that was not synced."""
        return self._disk.wake_at()

    def trouble(self) -> str:
        """What is wrong with the disk, or with the base; "" when nothing is."""
        return "; ".join(filter(None, (self._disk.trouble(), self.journal.misgiving)))

    def settle(self, now: float) -> None:
        """Have the disk know what is known here."""
        self._disk.settle(now)

    # --- what the stream says

    def hold(self, revision: int, patches: dict[int, Patch], course: Course) -> None:
        """The stream moved on."""
        self.journal.revision, self.journal.patches = revision, dict(patches)
        self.judge(course)
        self._disk.fall_behind()

    def judge(self, course: Course) -> None:
        """Take over which patches are blocked and which suspect."""
        self.journal.blocked, self.journal.suspects = dict(course.blocked), tuple(sorted(course.suspects))

    def ends(self, ids: Iterable[int]) -> bool:
        """Whether the files still hold patches besides `ids`."""
        return not self._in_files.issubset(ids)

    # --- the stages of an attempt

    def resume(self, conf: str | None) -> None:
        """Find out how far the attempt came in which the agent was killed: the file is as it was to be, or not yet."""
        journal = self.journal
        attempt, aim = journal.attempt, journal.writing
        if attempt is None or not attempt.open:
            return
        if conf is not None and aim is not None and sha(conf) == aim.sha:
            attempt = journal.attempt = attempt._replace(stage="WRITTEN")
        emit("resumed", stage=attempt.stage, patches=attempt.ids)

    def perished(self, fresh: tuple[int, ...]) -> Failure | None:
        """The failure of new patches with which the agent went down too often."""
        trial, attempt = self._inherited, self.journal.attempt
        if trial is None or trial.starts < MOST_STARTS or not set(trial.ids) & set(fresh):
            return None
        step = attempt.step if attempt and attempt.open else "effective"
        self._inherited = self.journal.trial = None
        return Failure(step, f"the agent did not survive this step {trial.starts} times")

    def begin(self, candidate: Candidate, fresh: tuple[int, ...], wall: float, *, checked: bool) -> None:
        """An attempt begins. It is written down at once where a check comes first, or where the last run died of it."""
        journal = self.journal
        suspect(journal, candidate)
        journal.attempt = Attempt(candidate.ids, candidate.sha, rfc3339(wall), "VERIFIED")
        first, self._tried = not self._tried, True
        if not fresh:
            return
        journal.trial = (self._inherited or Trial((), 0)).again(fresh)
        if journal.trial.starts > 1 or (checked and (first or self._disk.behind)):
            try:
                self._disk.save()
            except OSError as error:  # the intent will say so where it matters
                self._disk.complain(error)

    def intend(self, candidate: Candidate) -> None:
        """Files are about to change; OSError when that cannot be written down, and then they must not.

        Patches that only go need no intent: should the power go, every key they leave is one the last imprint rules.
        """
        journal = self.journal
        only_ends = self._in_files.issuperset(candidate.ids) and self.ends(candidate.ids)
        self._shown = journal.effective_sha
        journal.writing, journal.effective_sha = Imprint.of(candidate), ""
        self._reach("CHECKED")
        try:
            self._disk.intend()
        except OSError as error:
            self._disk.fall_behind()
            if not only_ends:
                raise
            self._disk.complain(error)

    def called_off(self) -> None:
        """The files are as before the intent: whatever else they hold is nothing of ours."""
        self.journal.writing, self.journal.effective_sha = None, self._shown
        self._disk.fall_behind()

    def written(self, candidate: Candidate, unsynced: dict[str, OSError], now: float) -> None:
        """The files have changed; `unsynced` are directories that may yet forget it."""
        self._disk.written(self.journal.written, unsynced, now)
        self.journal.written = Imprint.of(candidate)
        self._touched.update(candidate.ids)

    def in_place(self, candidate: Candidate) -> None:
        """The files are these, written now or found so."""
        self._in_files = set(candidate.ids)

    def reached(self, ids: Sequence[int], stages: Sequence[str], wall: float) -> None:
        """The attempt reached stages; `ids` did so for the first time. What a trouble repeats is told once."""
        for stage in stages:
            self._reporter.receipt(self._untold(ids, stage), stage, wall)
            self._reach(stage.upper())  # type: ignore[arg-type]

    def _untold(self, ids: Iterable[int], stage: str, words: str = "") -> list[int]:
        """Those of whom this was not told since anything was effective; from now on it is."""
        found = [one for one in ids if self._told.get((one, stage)) != words]
        self._told.update(((one, stage), words) for one in found)
        return found

    def _reach(self, stage: Stage) -> None:
        if self.journal.attempt is not None:
            self.journal.attempt = self.journal.attempt._replace(stage=stage)

    def effective(self, candidate: Candidate, course: Course, wall: float) -> None:
        """The process shows these files."""
        journal = self.journal
        self.judge(course)
        gained = set(candidate.ids) - self._confirmed
        lost = self._touched - set(candidate.ids) - set(journal.blocked)
        self._reporter.receipt(sorted(gained), "effective", wall)
        self._reporter.receipt(sorted(lost), "reverted", wall)
        self._confirmed, self._touched = set(candidate.ids), set(candidate.ids)
        self._told.clear()
        journal.active, journal.effective_sha = candidate.ids, candidate.sha
        journal.written, journal.writing = Imprint.of(candidate), None
        self._reach("EFFECTIVE")
        self._count("effective")
        self._end_trial(candidate.ids)
        self._disk.fall_behind()
        emit("effective", revision=journal.revision, gained=sorted(gained), lost=sorted(lost))

    def failed(  # noqa: PLR0913 - what failed, who is to blame, why, when
        self,
        tried: Sequence[int],
        blamed: Iterable[int],
        failure: Failure,
        course: Course,
        *,
        wall: float,
        said: bool = False,
    ) -> None:
        """An attempt failed; `blamed` are to be reported for it. Of a trouble that was `said` the log is spared."""
        self.judge(course)
        self._end_trial(tried)
        self._count("unconfirmed" if failure.stage == "effective" else failure.stage)
        since = self.journal.attempt
        began = since if since and since.open and since.ids == tuple(tried) else None
        start = began or Attempt(tuple(tried), "", rfc3339(wall), "FAILED")
        self.journal.attempt = start._replace(stage="FAILED", failed=(failure.stage, failure.detail))
        self._disk.fall_behind()
        words = f"{failure.stage}: {failure.detail}"
        newly = self._untold(blamed, "failed", words)
        self._reporter.receipt(newly, "failed", wall, words)
        if newly or not said:
            event = "deferred" if failure.hasty else "failed"
            emit(event, stage=failure.stage, detail=failure.detail, tried=tried, blamed=newly)

    def _count(self, end: str) -> None:
        self.attempts[end] = self.attempts.get(end, 0) + 1

    def _end_trial(self, ids: Iterable[int]) -> None:
        """The agent saw the end of an attempt with these patches."""
        kept = set(ids)
        for trial in (self.journal.trial, self._inherited):
            if trial is not None and kept.issuperset(trial.ids):
                self.journal.trial = self._inherited = None

    def waits(self, ids: Iterable[int]) -> None:
        """A process that does not run is waited for: what happens to the agent meanwhile is not the patches' doing."""
        if self.journal.trial is not None:
            self._end_trial(ids)
            self._disk.fall_behind()

    def promote(self, good: Candidate) -> None:
        """Files have proven themselves."""
        self.journal.promote(good)
        self._disk.promoted()

    def leave(self) -> None:
        """The agent ends because it was told to: what is under way is not the patches' fault."""
        if self.journal.trial is not None:
            self.journal.trial = self._inherited
            self._disk.fall_behind()
        self._disk.leave()
