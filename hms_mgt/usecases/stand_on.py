"""Finds the patches that stand on GOV's signature: whoever drops a key must know what goes with it."""

from hms_mgt.domain.patch import Patch
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT, Database


async def decided(db: Database) -> list[Patch]:
    """Return every tenant's patches that GOV allowed and that are in force or on their way there, oldest first."""
    async with db.transaction(EVERY_TENANT) as tx:
        return await patches.decided(tx)
