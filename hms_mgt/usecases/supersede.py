"""Ends what a patch replaces: what is only planned once the patch is approved, what is in force once it is in effect.

So nothing flaps in between, and where the new patch fails the old one still stands.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.patch import CANCELLABLE, IN_STREAM, Patch, Status
from hms_mgt.signer import Signer
from hms_mgt.store import patches
from hms_mgt.usecases.move import To, move


async def supersede(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime) -> None:
    """End the patches that this one, just APPROVED or just APPLIED, supersedes, so far as it is time."""
    if not patch.spec.supersedes:
        return
    words = f"superseded by patch {patch.id}"
    for other in await patches.lock_all(tx, patch.spec.supersedes):
        if other.status in CANCELLABLE:
            await move(tx, signer, other, To(Status.CANCELLED, "hms-mgt", words), now, superseded_by=patch.id)
        elif patch.status is Status.APPLIED and other.status in IN_STREAM:
            to = To(Status.REVERTING, "hms-mgt", words)
            await move(tx, signer, other, to, now, ending=Status.SUPERSEDED, superseded_by=patch.id)
