"""Gives a patch another window: a new patch that supersedes it, by the same path and with the same checks."""

from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt import validator
from hms_mgt.domain import access, freeze
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import GOING_ON, STANDING, Patch, PatchSpec
from hms_mgt.errors import Conflict, NotFound
from hms_mgt.signer import Signer
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.admit import Accepted, Origin, Proposal, admit, earlier, once
from hms_mgt.usecases.submit import Submission


class NewWindow(NamedTuple):
    """A request for another window of one patch."""

    patch_id: int
    asked: Submission


async def change_window(db: Database, signer: Signer, actor: Actor, wanted: NewWindow, now: datetime) -> Accepted:
    """Extend, shorten or move the window of a patch that stands.

    Raises:
        Forbidden: the role may not submit.
        NotFound: there is no such patch in the actor's scope.
        Invalid: the request breaks a rule.
        Conflict: the patch has ended, or something that stands is in the new window's way.
        KeyReused: the Idempotency-Key came before with another body.
    """
    access.require(actor, Permission.SUBMIT)
    return await once(partial(_change_window, db, signer, actor, wanted, now))


async def _change_window(db: Database, signer: Signer, actor: Actor, wanted: NewWindow, now: datetime) -> Accepted:
    patch_id, asked = wanted
    origin = Origin(asked.digest, asked.idempotency_key)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        patch = await patches.get(tx, patch_id, lock=True)
        if patch is None:
            raise NotFound(f"there is no patch {patch_id}")
        # Under the lock: an earlier try that came at the same moment may have replaced the patch by now.
        before = await earlier(tx, actor, origin)
        if before is not None:
            return before
        if patch.status not in STANDING:
            raise Conflict(f"patch {patch.id} is {patch.status}: its window cannot change any more")
        spec = await _revised(tx, patch, asked.document, now)
        origin = origin._replace(freeze_exemption=_exemption(patch, spec))
        return await admit(tx, signer, Proposal(actor, spec, origin), now)


async def _revised(tx: AsyncConnection, patch: Patch, document: Any, now: datetime) -> PatchSpec:
    """Return the patch with its new window. What it was to supersede and still stands goes with the new one."""
    start = max(now, patch.spec.window.start)
    wanted = validator.revision(document, now, start)
    reason = wanted.reason or f"another window for patch {patch.id}"
    inherited = [one.id for one in await patches.lock_all(tx, patch.spec.supersedes) if one.status in STANDING]
    return patch.spec._replace(window=wanted.window, reason=reason, supersedes=(patch.id, *inherited))


def _exemption(patch: Patch, revised: PatchSpec) -> str | None:
    """What is in force, and still is when the new window opens, does not begin: a freeze has nothing to hold."""
    goes_on = patch.status in GOING_ON and not patch.spec.window.over(revised.window.start)
    return freeze.going_on(patch.id) if goes_on else None
