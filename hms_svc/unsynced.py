"""Directories that hold new files but would not be synced: the files are in place, and a power cut may take them back.

The transaction goes on, for the served process reads what is there now. Until the sync succeeds the journal knows both
texts, and the reports say so.
"""

from collections.abc import Mapping

from hms_svc.conf_file import sync_directory
from hms_svc.log import emit

RETRY_SECONDS = 1.0


class Unsynced:
    """What is still to be synced. `now` is the monotonic clock."""

    def __init__(self) -> None:
        self.owed: dict[str, str] = {}
        self.retry_at = 0.0

    def owe(self, unsynced: Mapping[str, OSError], now: float) -> None:
        """These directories refused."""
        fresh = {path: error.strerror or str(error) for path, error in unsynced.items()}
        if fresh.items() - self.owed.items():
            emit("directory_not_synced", detail=fresh)
        self.owed |= fresh
        self.retry_at = now + RETRY_SECONDS

    def pay(self, now: float) -> bool:
        """Try again when it is time; True when nothing is left."""
        if now < self.retry_at:
            return False
        for path in list(self.owed):
            try:
                sync_directory(path)
            except OSError as error:
                self.owe({path: error}, now)
            else:
                del self.owed[path]
        return not self.owed

    def forgive(self) -> None:
        """The same directories were synced since."""
        self.owed.clear()

    def words(self) -> str:
        """For a report."""
        told = (f"{path}: {why}; a power cut may bring back the file from before" for path, why in self.owed.items())
        return "; ".join(told)
