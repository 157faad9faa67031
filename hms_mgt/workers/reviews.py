"""Has queued patches judged, one after the other, until none is due."""

from hms_mgt.usecases.review import Reviewer, review_next

# A patch that GOV could not judge is due again within this time at the latest.
_LOOK_EVERY_S = 0.25


async def step(reviewer: Reviewer) -> float:
    """Review every queued patch that is due."""
    while await review_next(reviewer):
        pass
    return _LOOK_EVERY_S
