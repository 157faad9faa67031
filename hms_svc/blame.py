"""Draws the conclusions from a failed attempt: who is to blame for it, when to try again, what to tell of it.

`course` judges by what was tried. Here that is held against patches that have ended and are not gone yet: they hurry.
"""

from collections.abc import Collection

from hms_svc.clock import Clock
from hms_svc.course import RETRY_FIRST_SECONDS, Course, Failure
from hms_svc.ledger import Ledger
from hms_svc.pace import Pace


class Blame:
    """What is made of failures."""

    def __init__(self, clock: Clock, ledger: Ledger, course: Course, pace: Pace) -> None:
        self._clock = clock
        self._ledger = ledger
        self._course = course
        self._pace = pace

    def lay(self, ids: tuple[int, ...], failure: Failure, wanted: Collection[int]) -> bool:
        """Find who is to blame; True where nobody is and the check refuses all the same: a fallback is needed."""
        course, now = self._course, self._clock.now()
        failure, known = self._judged(ids, failure), course.trouble
        blamed = course.failed(ids, failure, now)
        if self._lingers(wanted):
            course.no_later_than(now + RETRY_FIRST_SECONDS)
        newly = course.blocked.keys() & set(blamed)  # a trouble that stands does not speak for these
        said = course.trouble is not None and course.trouble == known and not newly
        self._ledger.failed(ids, blamed, failure, course, wall=self._clock.wall(), said=said)
        return course.trouble is failure and failure.stage == "checked" and not failure.surroundings

    def _judged(self, ids: tuple[int, ...], failure: Failure) -> Failure:
        """An ending asks less of the disk than what is new: what is new waits until that is done."""
        hasty = failure.surroundings and self._pace.late_since is not None and self._course.fresh(ids)
        return failure._replace(hasty=True) if hasty else failure

    def _lingers(self, wanted: Collection[int]) -> bool:
        """Whether a patch has ended and is not yet gone everywhere."""
        return self._pace.late_since is not None or not set(wanted).issuperset(self._ledger.journal.active)
