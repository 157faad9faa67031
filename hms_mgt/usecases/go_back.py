"""Takes a stream back to what it held at an earlier revision, as a new revision.

What came since leaves at once, all in one revision. What has left since and whose window is not over is submitted
anew, for only GOV lets a patch into a stream; a freeze does not hold it, for it goes back to what was.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import IN_STREAM, Patch, PatchSpec, Status
from hms_mgt.domain.window import Window, rfc3339
from hms_mgt.errors import Conflict, HmsError, NotFound
from hms_mgt.signer import Signer
from hms_mgt.store import catalog, patches, streams
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.admit import Origin, Proposal, admit
from hms_mgt.usecases.move import To, take_out
from hms_mgt.validator import LONGEST_REASON, Return


class Wanted(NamedTuple):
    """A request to take the stream of one tenant's service back."""

    tenant: str
    service: str
    asked: Return


class Returned(NamedTuple):
    """What was done: `revision` is the new one, None where nothing had to leave."""

    revision: int | None
    ended: tuple[int, ...]
    # Pairs of the patch as it was and the new one.
    resubmitted: tuple[tuple[int, int], ...]
    # What cannot come back, and why.
    lost: tuple[tuple[int, str], ...]


async def go_back(db: Database, signer: Signer, actor: Actor, wanted: Wanted, now: datetime) -> Returned:
    """Take the stream back to a revision.

    Raises:
        Forbidden: the role may not submit and end patches.
        NotFound: there is no such stream in the actor's scope, or it never had this revision.
    """
    access.require(actor, Permission.SUBMIT)
    access.require(actor, Permission.END)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        then = await streams.patch_ids(tx, wanted.tenant, wanted.service, wanted.asked.revision)
        if then is None:
            where = f"{wanted.service} of tenant {wanted.tenant}"
            raise NotFound(f"{where} never had a revision {wanted.asked.revision}")
        present = [one.id for one in await patches.in_stream(tx, wanted.tenant, wanted.service)]
        known = {one.id: one for one in await patches.lock_all(tx, [*then, *present])}
        # Each of several submissions locks the service, and behind it nobody may wait for the quota.
        await catalog.get_quota(tx, wanted.tenant)
        steps = _Steps(tx, signer, actor, _words(wanted.asked), now)
        return await steps.take(_Change.between(then, known))


class _Change(NamedTuple):
    """From what a stream holds to what it held: who leaves, who stays, who is missing."""

    leaving: list[Patch]
    staying: frozenset[int]
    missing: list[Patch]

    @classmethod
    def between(cls, then: list[int], known: dict[int, Patch]) -> "_Change":
        """What was about to be superseded then is not missed: what superseded it comes back."""
        inside = {one.id for one in known.values() if one.status in IN_STREAM}
        going = {old for number in then for old in known[number].spec.supersedes}
        return cls(
            [known[number] for number in sorted(inside - set(then), reverse=True)],
            frozenset(inside & set(then)),
            [known[number] for number in then if number not in inside | going],
        )

    def replaced_by(self, missing: Patch) -> tuple[int, ...]:
        """Return what a missing patch takes the place of: all that leaves, and what it was to supersede then."""
        return (*(one.id for one in self.leaving), *self.staying.intersection(missing.spec.supersedes))


class _Steps(NamedTuple):
    """The way back, in one transaction."""

    tx: AsyncConnection
    signer: Signer
    actor: Actor
    why: str
    now: datetime

    async def take(self, change: _Change) -> Returned:
        leaving = tuple(one.id for one in change.leaving)
        resubmitted, lost = [], []
        # Submitted before the others leave: everybody takes the locks in this order.
        for old in change.missing:
            try:
                resubmitted.append((old.id, await self._submit_again(old, change.replaced_by(old))))
            except HmsError as refusal:
                lost.append((old.id, refusal.detail))
        revision = None
        if change.leaving:
            to = To(Status.REVERTING, self.actor, self.why)
            revision = await take_out(self.tx, self.signer, change.leaving, to, self.now)
        return Returned(revision, leaving, tuple(resubmitted), tuple(lost))

    async def _submit_again(self, old: Patch, replaced: tuple[int, ...]) -> int:
        spec = _again(old, replaced, self.why, self.now)
        proposal = Proposal(self.actor, spec, Origin("", freeze_exemption=self.why))
        return (await admit(self.tx, self.signer, proposal, self.now)).patch_id


def _words(asked: Return) -> str:
    words = f"back to revision {asked.revision}" + (f": {asked.reason}" if asked.reason else "")
    return words[:LONGEST_REASON]


def _again(old: Patch, replaced: tuple[int, ...], words: str, now: datetime) -> PatchSpec:
    """Return what the patch asked for, for the rest of its window. What it replaces is not in its way."""
    if old.spec.window.over(now):
        raise Conflict(f"its window ended at {rfc3339(old.spec.window.end or now)}")
    window = Window(now, old.spec.window.end)
    return old.spec._replace(window=window, reason=words, supersedes=replaced)
