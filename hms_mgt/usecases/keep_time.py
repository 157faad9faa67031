"""Lets windows begin and end. The sidecars keep the ends by themselves; this makes the record follow."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.patch import PLANNED, TERMINAL, Patch, Status
from hms_mgt.ports import Clock
from hms_mgt.signer import Signer
from hms_mgt.store import freezes, patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.begin import begin
from hms_mgt.usecases.each import each
from hms_mgt.usecases.end import end_by_clock


async def keep_time(db: Database, signer: Signer, clock: Clock) -> datetime | None:
    """Move every patch whose window began or ended. Returns when the next one does, if any is ahead."""
    now = clock.now()

    async def move_on(tx: AsyncConnection, patch: Patch) -> None:
        if patch.spec.window.over(now) and patch.status not in {*TERMINAL, Status.REVERTING}:
            await end_by_clock(tx, signer, patch, now)
        elif patch.spec.window.started(now) and patch.status in PLANNED and not _held(patch, now):
            await begin(tx, signer, patch, now)

    async with db.transaction(EVERY_TENANT) as tx:
        # A patch that was being held while its freeze was being lifted may have missed that.
        await freezes.release_unfrozen(tx, now)
        due = await patches.due(tx, now)
    await each(db, due, move_on)
    async with db.transaction(EVERY_TENANT) as tx:
        return await patches.next_instant(tx)


def _held(patch: Patch, now: datetime) -> bool:
    return patch.held_until is not None and patch.held_until > now
