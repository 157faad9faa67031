"""Books what attempts achieved: in the journal for our own restart, in receipts for the control plane.

Intent is on disk before any file changes; what came of it is written after the process was told, with the save that
follows anyway. A disk that refuses is tried again once a second and said once. Receipts nobody has taken yet are kept
with the journal, so a crash loses none.
"""

from collections.abc import Iterable, Sequence

from hms_svc.attempt import MOST_STARTS, Attempt, Stage, Trial
from hms_svc.base_copy import BaseCopy
from hms_svc.candidate import Candidate
from hms_svc.conf_file import sha, words
from hms_svc.course import Course, Failure
from hms_svc.journal import Imprint, Journal, JournalFile
from hms_svc.log import emit
from hms_svc.messages import Patch
from hms_svc.recovery import suspect
from hms_svc.report import Reporter
from hms_svc.unsynced import Unsynced
from hms_svc.wire import rfc3339

RETRY_SECONDS = 1.0
SEEN_SECONDS = 600.0


class Ledger:
    """The journal and the receipts. `now` is the monotonic clock, `wall` the time of day."""

    def __init__(self, journal: Journal, store: JournalFile, reporter: Reporter, beside: BaseCopy) -> None:
        self.journal = journal
        self._store = store
        self._reporter = reporter
        self._beside = beside
        self._unsaved = False
        self._good_unsaved = False
        self._seen_at = 0.0  # how far the journal on disk knows the monotonic clock
        self._save_at = 0.0
        self._complaint = ""
        self._unsynced = Unsynced()
        self._confirmed: set[int] = set()  # told to be effective since we started
        self._touched = journal.in_files  # were in the files at some time, and not yet told to be reverted
        self._in_files = journal.in_files  # may be in the files now
        self._inherited = journal.trial  # new patches a run of the agent before this one came to no end with
        self._tried = False
        self.attempts: dict[str, int] = {}  # how many came to which end
        reporter.restore(journal.receipts)
        store.sweep()
        beside.sweep()

    def wake_at(self) -> list[float]:
        """When to look again: at an unsaved journal, at a directory that was not synced."""
        times = [self._save_at] if self._unsaved or self._good_unsaved else []
        return [*times, self._unsynced.retry_at] if self._unsynced.owed else times

    def trouble(self) -> str:
        """What is wrong with the disk, or with the base; "" when nothing is."""
        return "; ".join(filter(None, (self._complaint, self._unsynced.words(), self.journal.misgiving)))

    # --- saving

    def unsaved(self) -> None:
        """The journal's content is ahead of the disk."""
        self._unsaved, self._save_at = True, 0.0

    def settle(self, now: float) -> None:
        """Write the journal when it is behind, and sync what could not be synced."""
        if self._unsynced.owed and self._unsynced.pay(now):
            self.journal.unsynced.clear()
            self.unsaved()
        if not self._unsaved and (self.journal.latches.moved or self._seen_long_ago()):
            self.unsaved()
        if (self._unsaved or self._good_unsaved) and now >= self._save_at:
            self._try_to_save(now)

    def _try_to_save(self, now: float) -> None:
        try:
            if self._good_unsaved:
                self._store.save_good(self.journal)
                self._good_unsaved = False
            self._beside.follow(self.journal)
            self._save()
        except OSError as error:
            self._save_at = now + RETRY_SECONDS
            self._complain(words(error))

    def _save(self) -> None:
        journal = self.journal
        journal.receipts = self._reporter.waiting()
        if journal.doubt and not journal.doubt[1] and journal.base is not None:
            journal.doubt = (journal.doubt[0], sha(journal.base))
        self._store.save(journal)
        self._unsaved, self._complaint = False, ""
        journal.latches.moved = False
        self._seen_at = journal.seen.now if journal.seen else 0.0

    def _seen_long_ago(self) -> bool:
        """After a reboot with a wrong clock, the journal's last instant is all that is known: keep it young."""
        seen = self.journal.seen
        return bool(self.journal.latches.begun) and seen is not None and seen.now - self._seen_at > SEEN_SECONDS

    def _complain(self, detail: str) -> None:
        if detail != self._complaint:
            self._complaint = detail
            emit("journal_not_written", detail=detail)

    # --- what the stream says

    def hold(self, revision: int, patches: dict[int, Patch], course: Course) -> None:
        """The stream moved on."""
        self.journal.revision, self.journal.patches = revision, dict(patches)
        self.judge(course)
        self.unsaved()

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
        if journal.trial.starts > 1 or (checked and (first or self._unsaved)):
            try:
                self._save()
            except OSError as error:  # the intent will say so where it matters
                self._complain(words(error))

    def intend(self, candidate: Candidate) -> None:
        """Files are about to change; OSError when that cannot be written down, and then they must not.

        Patches that only go need no intent: should the power go, every key they leave is one the last imprint rules.
        """
        journal = self.journal
        only_ends = self._in_files.issuperset(candidate.ids) and self.ends(candidate.ids)
        journal.writing, journal.effective_sha = _imprint(candidate), ""
        self._reach("CHECKED")
        try:
            self._beside.keep(journal)
            self._save()
        except OSError as error:
            self.unsaved()
            if not only_ends:
                raise
            self._complain(words(error))

    def written(self, candidate: Candidate, unsynced: dict[str, OSError], now: float) -> None:
        """The files have changed; `unsynced` are directories that may yet forget it."""
        journal = self.journal
        if unsynced:
            self._unsynced.owe(unsynced, now)
            journal.unsynced += [journal.written] if journal.written else []
        else:
            self._unsynced.forgive()
            journal.unsynced.clear()
        journal.written = _imprint(candidate)
        self._touched.update(candidate.ids)

    def in_place(self, candidate: Candidate) -> None:
        """The files are these, written now or found so."""
        self._in_files = set(candidate.ids)

    def reached(self, ids: Sequence[int], stages: Sequence[str], wall: float) -> None:
        """The attempt reached stages; `ids` did so for the first time."""
        for stage in stages:
            self._reporter.receipt(ids, stage, wall)
            self._reach(stage.upper())  # type: ignore[arg-type]

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
        journal.active, journal.effective_sha = candidate.ids, candidate.sha
        journal.written, journal.writing = _imprint(candidate), None
        self._reach("EFFECTIVE")
        self._count("effective")
        self._end_trial(candidate.ids)
        self.unsaved()
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
        """An attempt failed; `blamed` are to be reported for it, unless the same was `said` before."""
        self.judge(course)
        self._end_trial(tried)
        self._count("unconfirmed" if failure.stage == "effective" else failure.stage)
        since = self.journal.attempt
        began = since if since and since.open and since.ids == tuple(tried) else None
        start = began or Attempt(tuple(tried), "", rfc3339(wall), "FAILED")
        self.journal.attempt = start._replace(stage="FAILED", failed=(failure.stage, failure.detail))
        self.unsaved()
        if said:
            return
        self._reporter.receipt(blamed, "failed", wall, f"{failure.stage}: {failure.detail}")
        event = "deferred" if failure.hasty else "failed"
        emit(event, stage=failure.stage, detail=failure.detail, tried=tried, blamed=list(blamed))

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
            self.unsaved()

    def promote(self, good: Candidate) -> None:
        """Files have proven themselves."""
        self.journal.promote(good)
        self._good_unsaved = True
        self._unsaved = self._unsaved or bool(self.journal.receipts)  # most of them have been delivered since
        self._save_at = 0.0

    def leave(self) -> None:
        """The agent ends because it was told to: what is under way is not the patches' fault."""
        if self.journal.trial is not None:
            self.journal.trial = self._inherited
            self.unsaved()
        if self._unsaved:
            self._try_to_save(0.0)


def _imprint(candidate: Candidate) -> Imprint:
    conf = next(iter(candidate.texts.values()))
    return Imprint(sha(conf), candidate.overlay, candidate.ids)
