"""Empties the outbox into Redis, keeps Redis' copy whole, and sends the heartbeat."""

from hms_mgt.ports import Bus, Clock
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.usecases.send import heal, heartbeat, send_pending

_LOOK_EVERY_S = 0.5


async def step(db: Database, bus: Bus, signer: Signer, clock: Clock) -> float:
    """Send what waits; heal and beat when it is time."""
    await send_pending(db, bus, clock)
    await heal(db, bus, signer, clock)
    await heartbeat(db, bus, signer, clock)
    return _LOOK_EVERY_S
