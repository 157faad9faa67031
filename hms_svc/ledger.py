"""Books what attempts achieved: in the journal for our own restart, in receipts for the control plane.

Intent is on disk before any file changes; the result after. A disk that refuses the journal is tried again
and said once. Files that stayed in effect for `BAKE_SECONDS` are kept as proven: they need no check to be put
back.
"""

from collections.abc import Iterable, Sequence

from hms_svc.candidate import Candidate
from hms_svc.conf_file import sha
from hms_svc.course import Failure
from hms_svc.job import words
from hms_svc.journal import Imprint, Journal, JournalFile
from hms_svc.log import emit
from hms_svc.messages import Patch
from hms_svc.report import Reporter

BAKE_SECONDS = 30.0
RETRY_SECONDS = 1.0


class Ledger:
    """The journal and the receipts. `now` is the monotonic clock, `wall` the time of day."""

    def __init__(self, journal: Journal, store: JournalFile, reporter: Reporter) -> None:
        self.journal = journal
        self._store = store
        self._reporter = reporter
        self._unsaved = False
        self._save_at = 0.0
        self._complaint = ""
        self._confirmed: set[int] = set()  # told to be effective since we started
        self._touched = journal.in_files  # were in the files at some time, and not yet told to be reverted
        self._baking: Candidate | None = None
        self._bake_at = 0.0

    def wake_at(self) -> list[float]:
        """When to look again: at an unsaved journal, at files to be promoted."""
        times = [self._save_at] if self._unsaved else []
        return [*times, self._bake_at] if self._baking else times

    def hold(self, revision: int, patches: dict[int, Patch], blocked: dict[int, tuple[str, str]]) -> None:
        """The stream moved on."""
        journal = self.journal
        journal.revision, journal.patches, journal.blocked = revision, dict(patches), dict(blocked)
        self.unsaved()

    def unsaved(self) -> None:
        """The journal's content is ahead of the disk."""
        self._unsaved, self._save_at = True, 0.0

    def ends(self, ids: Iterable[int]) -> bool:
        """Whether the files still hold patches besides `ids`."""
        return not self._touched.issubset(ids)

    def settle(self, now: float) -> None:
        """Write the journal when it is behind; promote what has baked."""
        if self._baking and now >= self._bake_at:
            self.journal.promote(self._baking)
            self._baking = None
            self.unsaved()
        if not self._unsaved or now < self._save_at:
            return
        try:
            self._save()
        except OSError as error:
            self._save_at = now + RETRY_SECONDS
            self._complain(words(error))

    def _save(self) -> None:
        self._store.save(self.journal)
        self._unsaved, self._complaint = False, ""

    def _complain(self, detail: str) -> None:
        if detail != self._complaint:
            self._complaint = detail
            emit("journal_not_written", detail=detail)

    def intend(self, candidate: Candidate) -> None:
        """Files are about to change; OSError when that cannot be written down, and then they must not."""
        self.journal.writing = _imprint(candidate)
        self._baking = None
        self._save()

    def written(self, candidate: Candidate) -> None:
        """The files have changed."""
        self.journal.written = _imprint(candidate)
        self._touched.update(candidate.ids)

    def reached(self, ids: Sequence[int], stages: Sequence[str], wall: float) -> None:
        """Patches reached stages for the first time."""
        for stage in stages:
            self._reporter.receipt(ids, stage, wall)

    def effective(self, candidate: Candidate, now: float, wall: float) -> None:
        """The process shows these files."""
        journal = self.journal
        gained = set(candidate.ids) - self._confirmed
        lost = self._touched - set(candidate.ids) - set(journal.blocked)
        self._reporter.receipt(sorted(gained), "effective", wall)
        self._reporter.receipt(sorted(lost), "reverted", wall)
        self._confirmed, self._touched = set(candidate.ids), set(candidate.ids)
        journal.active, journal.effective_sha = candidate.ids, candidate.sha
        journal.written, journal.writing = _imprint(candidate), None
        self._baking, self._bake_at = candidate, now + BAKE_SECONDS
        self.unsaved()
        emit("effective", revision=journal.revision, gained=sorted(gained), lost=sorted(lost))

    def failed(self, tried: Sequence[int], blamed: Iterable[int], failure: Failure, wall: float) -> None:
        """An attempt failed; `blamed` are to be reported for it."""
        self._reporter.receipt(blamed, "failed", wall, f"{failure.stage}: {failure.detail}")
        self.unsaved()
        event = "deferred" if failure.hasty else "failed"
        emit(event, stage=failure.stage, detail=failure.detail, tried=tried, blamed=list(blamed))


def _imprint(candidate: Candidate) -> Imprint:
    conf = next(iter(candidate.texts.values()))
    return Imprint(sha(conf), candidate.overlay, candidate.ids)
