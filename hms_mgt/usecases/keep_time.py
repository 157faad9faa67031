"""Lets windows begin and end. The sidecars keep the ends by themselves; this makes the record follow."""

from datetime import datetime

from hms_mgt.ports import Clock
from hms_mgt.signer import Signer
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.end import end_by_clock
from hms_mgt.usecases.review import begin


async def keep_time(db: Database, signer: Signer, clock: Clock) -> datetime | None:
    """Move every patch whose window began or ended. Returns when the next one does, if any is ahead."""
    now = clock.now()
    async with db.transaction(EVERY_TENANT) as tx:
        for patch in await patches.due(tx, now):
            if patch.spec.window.over(now):
                await end_by_clock(tx, signer, patch, now)
            else:
                await begin(tx, signer, patch, now)
        return await patches.next_instant(tx)
