"""Wakes when the next window begins or ends."""

from hms_mgt.ports import Clock
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.usecases.keep_time import keep_time

_LOOK_EVERY_S = 1.0
# What is due may be in somebody else's hands for a moment.
_LOOK_AGAIN_S = 0.02


async def step(db: Database, signer: Signer, clock: Clock) -> float:
    """Move what is due. Returns the seconds until the next window begins or ends, one at the most."""
    following = await keep_time(db, signer, clock)
    if following is None:
        return _LOOK_EVERY_S
    return min(_LOOK_EVERY_S, max(_LOOK_AGAIN_S, (following - clock.now()).total_seconds()))
