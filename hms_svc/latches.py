"""What has happened to a patch on this instance does not happen again: it begins once and ends once.

A clock that is set may stand before a window's start again, or before its end. So a patch that began stays begun until
its end, and one that ended after it began is over for good here. A patch that never began here is judged by the clock
alone, so that a wrong clock cannot use up a window before its time. Bounded: only patches of the stream are kept.
"""

from collections.abc import Iterable

from hms_svc.layers import is_over
from hms_svc.messages import Patch


class Latches:
    """Which patches began here, and which of these are over."""

    def __init__(self) -> None:
        self.begun: set[int] = set()
        self.over: set[int] = set()
        self.moved = False  # since they were last written down

    def pass_through(self, admitted: Iterable[Patch], at: float) -> list[Patch]:
        """Those of the patches meant for this instance that are in force at an epoch second, in the same order."""
        return [patch for patch in admitted if self._holds(patch, at)]

    def _holds(self, patch: Patch, at: float) -> bool:
        if patch.id in self.over:
            return False
        if is_over(patch, at):
            if patch.id in self.begun:
                self.begun.discard(patch.id)
                self.over.add(patch.id)
                self.moved = True
            return False
        if patch.start <= at and patch.id not in self.begun:
            self.begun.add(patch.id)
            self.moved = True
        return patch.id in self.begun

    def forget(self, held: Iterable[int]) -> None:
        """Let go of patches the stream has dropped."""
        kept = set(held)
        self.begun &= kept
        self.over &= kept
