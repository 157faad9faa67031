"""Takes people's words on a patch that waits for them. The last approval lets it through, one rejection ends it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import access, approval
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.approval import Approval, Word
from hms_mgt.domain.patch import Patch, Status
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import Conflict, Forbidden, NotFound
from hms_mgt.signer import Signer
from hms_mgt.store import approvals, duties, patches, trail
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.begin import let_through, marked
from hms_mgt.usecases.move import To, move
from hms_mgt.usecases.objection import objection


class Request(NamedTuple):
    """Who says something about which patch."""

    actor: Actor
    patch_id: int
    comment: str


class _Heard(NamedTuple):
    """A patch, locked, with all that was said about it; what was said last comes last."""

    patch: Patch
    said: list[Approval]


async def approve(db: Database, signer: Signer, asked: Request, now: datetime) -> None:
    """Approve a patch; the last approval that GOV obliges lets it through, if nothing has come in its way meanwhile.

    Raises:
        Forbidden: the actor is the patch's author, or the role does not count here.
        NotFound: there is no such patch in the actor's scope.
        Conflict: the patch waits for no approval, or the actor has spoken already.
    """
    access.require(asked.actor, Permission.APPROVE)
    async with db.transaction(asked.actor.tenant or EVERY_TENANT) as tx:
        heard = await _hear(tx, asked, Word.APPROVE, now)
        waiting = approval.missing(approval.read_obligations(heard.patch.obligations), heard.said)
        if waiting is None:
            await _settle(tx, signer, asked.actor, heard, now)
        else:
            await _wait(tx, asked.actor, heard.patch, marked(heard.patch, waiting), now)


async def reject(db: Database, signer: Signer, asked: Request, now: datetime) -> None:
    """Reject a patch. It is not carried out, whoever else approved it.

    Raises:
        Forbidden, NotFound, Conflict: as `approve` does.
    """
    access.require(asked.actor, Permission.APPROVE)
    async with db.transaction(asked.actor.tenant or EVERY_TENANT) as tx:
        heard = await _hear(tx, asked, Word.REJECT, now)
        words = f"rejected by {asked.actor.name}: {asked.comment}"
        await move(tx, signer, heard.patch, To(Status.REJECTED, asked.actor, words), now)


async def _wait(tx: AsyncConnection, actor: Actor, patch: Patch, waiting: str, now: datetime) -> None:
    await patches.set_status(tx, patch, patch.status, waiting, now)
    event = trail.Event(now, patch.status, patch.status, actor.name, f"approved; {waiting}")
    await trail.add_event(tx, patch.spec.tenant, patch.id, event)
    await duties.wake(tx)


async def _settle(tx: AsyncConnection, signer: Signer, last: Actor, heard: _Heard, now: datetime) -> None:
    """Carry out what every obliged approval was given for, unless what stands by now objects."""
    patch, said = heard
    words = "approved by " + ", ".join(one.approver for one in said)
    refusal = await objection(tx, patch, patch.decision or {}, said, now)
    if refusal is None:
        await let_through(tx, signer, patch, To(Status.APPROVED, last, words), now)
    else:
        await move(tx, signer, patch, To(Status.REJECTED, "hms-mgt", f"{words}, but {refusal}"), now)


async def _hear(tx: AsyncConnection, asked: Request, verdict: Word, now: datetime) -> _Heard:
    """Put a word on record, if it counts."""
    patch = await patches.get(tx, asked.patch_id, lock=True)
    if patch is None:
        raise NotFound(f"there is no patch {asked.patch_id}")
    said = await approvals.of_patch(tx, patch.id)
    _check(patch, asked.actor, said)
    word = Approval(asked.actor.name, asked.actor.role, verdict, asked.comment, now)
    await approvals.add(tx, patch.spec.tenant, patch.id, word)
    heard = _Heard(patch, [*said, word])
    await _record(tx, asked.actor, heard, now)
    return heard


def _check(patch: Patch, actor: Actor, said: Sequence[Approval]) -> None:
    if patch.status is not Status.AWAITING_APPROVAL:
        raise Conflict(f"patch {patch.id} is {patch.status}: it waits for no approval")
    if actor.name == patch.author:
        raise Forbidden(f"{actor.name} submitted patch {patch.id}: its author's word on it never counts")
    asked_for = approval.roles_asked(approval.read_obligations(patch.obligations))
    if actor.role not in asked_for:
        raise Forbidden(f"role {actor.role} does not count here: GOV asks for {' or '.join(asked_for)}")
    if any(one.approver == actor.name for one in said):
        raise Conflict(f"{actor.name} has spoken about patch {patch.id} already; one word a person")


async def _record(tx: AsyncConnection, actor: Actor, heard: _Heard, now: datetime) -> None:
    patch, words = heard.patch, [_shown(one) for one in heard.said]
    fields: dict[str, Any] = {
        "before": {"status": patch.status, "approvals": words[:-1]},
        "after": {"status": patch.status, "approvals": words},
        "decision_id": (patch.decision_summary or {}).get("decision_id"),
    }
    action = "patch.approved_by" if heard.said[-1].verdict is Word.APPROVE else "patch.rejected_by"
    await trail.audit_act(tx, trail.act_of(actor, patch.spec.tenant, action, f"patch/{patch.id}", **fields), now)


def _shown(word: Approval) -> dict[str, str]:
    return {**word._asdict(), "at": rfc3339(word.at)}
