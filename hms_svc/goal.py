"""What the next attempt would be about, and whether the last one was about the same and worked.

Pure. That a file changed since, or that an attempt for it failed, is told by others.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from hms_svc.messages import Patch

# What two attempts must have in common to be the same: patches in order, with what they change.
Aim: TypeAlias = tuple[tuple[int, dict[str, Any]], ...]


class Goal:
    """Where the files are to come to."""

    def __init__(self) -> None:
        self._next: Aim = ()
        self._last: Aim | None = None  # what the running attempt, or else the last one, is about
        self._reached = False  # that attempt succeeded, and nobody has touched the files since

    def set(self, layers: Sequence[Patch]) -> None:
        """The next attempt would be about these."""
        self._next = tuple((layer.id, layer.changes) for layer in layers)

    def pursue(self) -> None:
        """That attempt begins."""
        self._last, self._reached = self._next, False

    def reach(self) -> None:
        """It succeeded."""
        self._reached = True

    def lose(self) -> None:
        """It failed, or somebody touched the files."""
        self._reached = False

    @property
    def moved(self) -> bool:
        """Whether the next attempt would be about something else than the last."""
        return self._last != self._next

    @property
    def settled(self) -> bool:
        """Whether there is nothing to attempt."""
        return self._reached and not self.moved

    def drops(self, ids: Iterable[int]) -> bool:
        """Whether the next attempt would be without any of these."""
        return not {patch_id for patch_id, _ in self._next}.issuperset(ids)
