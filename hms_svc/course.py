"""Decides which patches to try next, so that a poison patch stops only itself.

Pure. New patches are tried together. When that fails and there were several, the last state that worked comes
back first and then they are tried one at a time, so only the guilty one is blocked (until the stream drops
it). When what remains after a patch ended is refused by the check, everything that remains is suspect: the
base alone comes first, then one after another. When even the base fails nothing is left to blame, and the
agent tries again, ever more seldom.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from hms_svc.messages import Patch

RETRY_FIRST_SECONDS = 1.0
RETRY_LONGEST_SECONDS = 30.0


class Failure(NamedTuple):
    """Where an attempt failed, in the tool's own words."""

    stage: str
    detail: str
    surroundings: bool = False  # a full disk or the like: no patch is to blame, time may heal it
    hasty: bool = False  # given up early, because an ended patch had to go: what is new gets its time after that


class Course:
    """What is trusted, what is blocked, what is suspect. `now` is any clock that only goes forward."""

    def __init__(
        self, trusted: Iterable[int], blocked: Mapping[int, tuple[str, str]], suspects: Iterable[int] = ()
    ) -> None:
        self.trusted = set(trusted)
        self.blocked = dict(blocked)
        self.trouble: Failure | None = None
        self.retry_at = 0.0
        self._pause = self._due = 0.0  # how long to wait, and until when if nobody hurries
        self.suspects = set(suspects)
        self._spoilt = False  # what stands now does not work: put back what worked before trying anything else

    def choose(self, wanted: Sequence[Patch]) -> list[Patch]:
        """The patches to lay over the base now, out of those wanted, in the same order."""
        able = [patch for patch in wanted if patch.id not in self.blocked]
        fresh = [patch.id for patch in able if patch.id not in self.trusted]
        if self._spoilt:
            fresh = []
        elif self.suspects.intersection(fresh):
            fresh = fresh[:1]
        return [patch for patch in able if patch.id in self.trusted or patch.id in fresh]

    def fresh(self, ids: Iterable[int]) -> list[int]:
        """Those of `ids` that have not worked yet."""
        return [patch_id for patch_id in ids if patch_id not in self.trusted]

    def succeeded(self, ids: Iterable[int]) -> None:
        """These patches together work."""
        self.trusted = set(ids)
        self.suspects -= self.trusted
        self._spoilt = False
        self._calm()

    def failed(self, ids: Sequence[int], failure: Failure, now: float) -> list[int]:
        """These patches together failed; the ids to report failed on account of it."""
        fresh = self.fresh(ids)
        if failure.hasty:
            self._spoilt = True
            return []
        if failure.surroundings:
            return self._wait(failure, now, fresh)
        if not fresh and not (failure.stage == "checked" and ids):
            return self._wait(failure, now, [])
        self._spoilt = True
        if not fresh:
            self.trusted.clear()
            self.suspects |= set(ids)
            return []
        if len(fresh) > 1:
            self.suspects |= set(fresh)
            return []
        self.blocked[fresh[0]] = (failure.stage, failure.detail)
        self.suspects.discard(fresh[0])
        return fresh

    def _wait(self, failure: Failure, now: float, blamed: list[int]) -> list[int]:
        self.trouble = failure
        if now >= self._due:  # what was tried before its time says nothing about how long this will last
            self._pause = min(max(self._pause * 2, RETRY_FIRST_SECONDS), RETRY_LONGEST_SECONDS)
            self._due = now + self._pause
        self.retry_at = self._due
        return blamed

    def _calm(self) -> None:
        self.trouble, self.retry_at, self._due, self._pause = None, 0.0, 0.0, 0.0

    def no_later_than(self, at: float) -> None:
        """Try again by then: ever more seldom is not for what has ended and is still there."""
        self.retry_at = min(self.retry_at, at)

    def put_back(self) -> None:
        """What stands now is worth nothing: first what worked, then what is new."""
        self._spoilt = True

    def hurry(self) -> None:
        """What is wanted changed: try again at once."""
        self.retry_at = 0.0

    def forget(self, held: Iterable[int]) -> None:
        """Let go of patches the stream has dropped."""
        kept = set(held)
        self.blocked = {key: value for key, value in self.blocked.items() if key in kept}
        self.suspects &= kept
