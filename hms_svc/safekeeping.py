"""Gets the journal onto the disk, with the copy of the base and the files that proved themselves.

A disk that refuses is tried again once a second and said once. What is to be written is the business of the `ledger`.
Receipts nobody has taken yet are kept with the journal, so a crash loses none.
"""

from hms_svc.base_copy import BaseCopy
from hms_svc.conf_file import sha, words
from hms_svc.journal import Imprint, Journal, JournalFile
from hms_svc.log import emit
from hms_svc.report import Reporter
from hms_svc.unsynced import Unsynced

RETRY_SECONDS = 1.0
SEEN_SECONDS = 600.0


class Safekeeping:
    """What of the journal is on disk, and what is not yet. `now` is the monotonic clock."""

    def __init__(self, journal: Journal, store: JournalFile, reporter: Reporter, beside: BaseCopy) -> None:
        self._journal = journal
        self._store = store
        self._reporter = reporter
        self._beside = beside
        self.behind = False  # the journal's content is ahead of the disk
        self._good_behind = False
        self._seen_at = 0.0  # how far the journal on disk knows the monotonic clock
        self._save_at = 0.0
        self._complaint = ""
        self._unsynced = Unsynced()
        reporter.restore(journal.receipts)
        store.sweep()
        beside.sweep()

    def wake_at(self) -> list[float]:
        """When to look again: at an unsaved journal, at a directory that was not synced."""
        times = [self._save_at] if self.behind or self._good_behind else []
        return [*times, self._unsynced.retry_at] if self._unsynced.owed else times

    def trouble(self) -> str:
        """What is wrong with the disk; "" when nothing is."""
        return "; ".join(filter(None, (self._complaint, self._unsynced.words())))

    def fall_behind(self) -> None:
        """The journal's content has moved on."""
        self.behind, self._save_at = True, 0.0

    def settle(self, now: float) -> None:
        """Write the journal when it is behind, and sync what could not be synced."""
        if self._unsynced.owed and self._unsynced.pay(now):
            self._journal.unsynced.clear()
            self.fall_behind()
        if not self.behind and (self._journal.latches.moved or self._seen_long_ago()):
            self.fall_behind()
        if (self.behind or self._good_behind) and now >= self._save_at:
            self._try_to_save(now)
        self._store.let_go()

    def leave(self) -> None:
        """The last chance."""
        if self.behind:
            self._try_to_save(0.0)

    def intend(self) -> None:
        """Write down what is about to be done to the files, and the base they come from; OSError when that fails."""
        self._beside.keep(self._journal)
        self.save()

    def save(self) -> None:
        """Write the journal now; OSError when the disk does not take it."""
        journal = self._journal
        journal.receipts = self._reporter.waiting()
        if journal.doubt and not journal.doubt[1] and journal.base is not None:
            journal.doubt = (journal.doubt[0], sha(journal.base))
        self._store.save(journal)
        self.behind, self._complaint = False, ""
        journal.latches.moved = False
        self._seen_at = journal.seen.now if journal.seen else 0.0

    def complain(self, error: OSError) -> None:
        """The disk refused; that is said once."""
        if (detail := words(error)) != self._complaint:
            self._complaint = detail
            emit("journal_not_written", detail=detail)

    def written(self, before: Imprint | None, unsynced: dict[str, OSError], now: float) -> None:
        """The files have changed; `unsynced` are directories that may yet bring back those `before`."""
        if unsynced:
            self._unsynced.owe(unsynced, now)
            self._journal.unsynced += [before] if before else []
        else:
            self._unsynced.forgive()
            self._journal.unsynced.clear()

    def promoted(self) -> None:
        """Other files have proven themselves. Most receipts in the journal have been delivered since."""
        self._good_behind = True
        self.behind = self.behind or bool(self._journal.receipts)
        self._save_at = 0.0

    def _try_to_save(self, now: float) -> None:
        try:
            if self._good_behind:
                self._store.save_good(self._journal)
                self._good_behind = False
            self._beside.follow(self._journal)
            self.save()
        except OSError as error:
            self.behind, self._save_at = True, now + RETRY_SECONDS
            self.complain(error)

    def _seen_long_ago(self) -> bool:
        """After a reboot with a wrong clock, the journal's last instant is all that is known: keep it young."""
        seen = self._journal.seen
        return bool(self._journal.latches.begun) and seen is not None and seen.now - self._seen_at > SEEN_SECONDS
