"""Ends patches: by their author, by a person, or by the clock. What was under them shows again by the fold."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import CANCELLABLE, IN_STREAM, Patch, Status
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import Conflict, NotFound
from hms_mgt.signer import Signer
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.move import To, move


class Request(NamedTuple):
    """Who wants a patch ended, and why."""

    actor: Actor
    patch_id: int
    reason: str

    def to(self, status: Status) -> To:
        """Return the step this request asks for."""
        return To(status, self.actor, self.reason)


async def cancel(db: Database, signer: Signer, asked: Request, now: datetime) -> Patch:
    """Withdraw a patch that is not in force yet.

    Raises:
        Forbidden: the role may not end patches.
        NotFound: there is no such patch in the actor's scope.
        Conflict: it is in force (roll it back instead) or has ended.
    """
    access.require(asked.actor, Permission.END)
    async with db.transaction(asked.actor.tenant or EVERY_TENANT) as tx:
        patch = await _locked(tx, asked.patch_id)
        if patch.status not in CANCELLABLE:
            hint = "; roll it back instead" if patch.status in IN_STREAM else ""
            raise Conflict(f"patch {patch.id} is {patch.status} and cannot be cancelled{hint}")
        return await move(tx, signer, patch, asked.to(Status.CANCELLED), now)


async def roll_back(db: Database, signer: Signer, asked: Request, now: datetime) -> Patch:
    """End a patch that is in force before its window does.

    Raises:
        Forbidden: the role may not end patches.
        NotFound: there is no such patch in the actor's scope.
        Conflict: it is not in force.
    """
    access.require(asked.actor, Permission.END)
    async with db.transaction(asked.actor.tenant or EVERY_TENANT) as tx:
        patch = await _locked(tx, asked.patch_id)
        if patch.status not in IN_STREAM:
            hint = "; cancel it instead" if patch.status in CANCELLABLE else ""
            raise Conflict(f"patch {patch.id} is {patch.status} and cannot be rolled back{hint}")
        return await move(tx, signer, patch, asked.to(Status.REVERTING), now, ending=Status.ROLLED_BACK)


async def end_by_clock(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime) -> None:
    """Carry out what the end of a window means for a patch, wherever it is in its life."""
    ended = f"the window ended at {rfc3339(patch.spec.window.end or now)}"
    if patch.status in IN_STREAM:
        await move(tx, signer, patch, To(Status.REVERTING, "hms-mgt", ended), now, ending=Status.EXPIRED)
    elif patch.status is Status.QUEUED:
        words = f"{ended} before the patch was approved"
        await move(tx, signer, patch, To(Status.REJECTED, "hms-mgt", words), now)
    elif patch.status is Status.AWAITING_APPROVAL:
        words = f"{ended} before everybody had approved"
        await move(tx, signer, patch, To(Status.CANCELLED, "hms-mgt", words), now)
    else:
        held = "" if patch.held_until is None else f": {patch.status_reason}"
        await move(tx, signer, patch, To(Status.CANCELLED, "hms-mgt", f"{ended} before it began{held}"), now)


async def _locked(tx: AsyncConnection, patch_id: int) -> Patch:
    patch = await patches.get(tx, patch_id, lock=True)
    if patch is None:
        raise NotFound(f"there is no patch {patch_id}")
    return patch
