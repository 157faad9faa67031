"""Follows patches on their way, as reports come in."""

from datetime import timedelta

from hms_mgt.ports import Clock
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.usecases.follow import follow

_LOOK_EVERY_S = 1.0


async def step(db: Database, signer: Signer, clock: Clock, deadline: timedelta) -> float:
    """Take every patch that is on its way one step further."""
    await follow(db, signer, clock, deadline)
    return _LOOK_EVERY_S
