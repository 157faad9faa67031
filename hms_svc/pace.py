"""Decides when an attempt may start: additions wait, so that a burst is one more reload and not fifty; endings do not.

Pure. Attempts with additions start at least `SPACING_SECONDS` apart. A window's end is a promise: of those the process
is told, only `ENDING_SPACING_SECONDS` apart. Somebody who is just writing the files is waited for, but not for long.
"""

SPACING_SECONDS = 0.25
ENDING_SPACING_SECONDS = 0.1
LONGEST_WAIT_SECONDS = 0.3
MOST_RENEWALS = 8
RESUME_SECONDS = 0.05  # half of what `watch` takes for standing still


class Pace:
    """When what happened, as far as the next attempt has to mind it. `now` is the monotonic clock."""

    def __init__(self) -> None:
        self.late_since: float | None = None  # patches that have ended are in the files
        self.started = float("-inf")  # the last attempt
        self._told_at = float("-inf")  # the last change the process was told of
        self._waiting_since: float | None = None  # somebody else is writing the files
        self._resume_at = 0.0
        self._renewed = 0  # how often in this attempt the wait for a writer began anew

    def mind(self, *, late: bool, now: float) -> None:
        """Remember since when patches that have ended, or failed, are in the files."""
        if not late:
            self.late_since = None
        elif self.late_since is None:
            self.late_since = now

    def may_wait(self, now: float) -> bool:
        """Whether there is still time to let somebody finish writing."""
        if self._waiting_since is None:
            self._waiting_since = now
        self._resume_at = now + RESUME_SECONDS
        return now - self._waiting_since <= LONGEST_WAIT_SECONDS

    def called_off(self) -> None:
        """The attempt that began changed nothing: it does not keep the next one waiting."""
        self.started = float("-inf")

    def taken_in(self) -> None:
        """What somebody wrote is in the base: whoever writes next is waited for anew. No ending waits for that."""
        if self.late_since is None and self._renewed < MOST_RENEWALS:
            self._waiting_since, self._renewed = None, self._renewed + 1

    def came_to_an_end(self) -> None:
        """The attempt did: whoever writes from now on is waited for anew."""
        self._waiting_since, self._renewed = None, 0

    def told(self, now: float) -> None:
        """The files changed, and the process is told."""
        self._told_at = now

    def may_tell(self, now: float) -> bool:
        """Whether an ending may have the process told again."""
        return now >= self._told_at + ENDING_SPACING_SECONDS

    def earliest(self) -> float:
        """When an attempt may start."""
        late = self.late_since is not None
        free_at = self._told_at + ENDING_SPACING_SECONDS if late else self.started + SPACING_SECONDS
        return max(self._resume_at, free_at)
