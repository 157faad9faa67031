"""The one way a patch changes state: guarded, with its event, audit row, revision and outbox row together."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.access import Actor
from hms_mgt.domain.patch import IN_STREAM, Patch, Status, check_transition, stream_changes
from hms_mgt.errors import Conflict
from hms_mgt.signer import Signer
from hms_mgt.store import duties, patches, trail
from hms_mgt.usecases import advance

# What the audit tells of a patch beside its status, where a step changes it.
_TOLD = (
    "approval_order",
    "rollout_started_at",
    "ending",
    "obligations",
    "freeze_exemption",
    "held_until",
    "superseded_by",
    "decision_summary",
)


class To(NamedTuple):
    """Where a patch goes, who says so and why. A name alone is a part of the platform that acts by itself."""

    status: Status
    actor: Actor | str
    reason: str


async def move(tx: AsyncConnection, signer: Signer, patch: Patch, to: To, now: datetime, **columns: Any) -> Patch:
    """Take a patch to its next state. `columns` are further columns of its row that change with it.

    Raises:
        Conflict: when the table of transitions forbids it, or somebody else moved the patch first.
    """
    moved = await _step(tx, patch, to, now, **columns)
    if stream_changes(patch.status, to.status):
        step = advance.Step(put=(moved,)) if to.status in IN_STREAM else advance.Step(ended=(moved.id,))
        await advance.advance(tx, signer, (moved.spec.tenant, moved.spec.service), step, now)
    await duties.wake(tx)
    return moved


async def take_out(tx: AsyncConnection, signer: Signer, leaving: Sequence[Patch], why: To, now: datetime) -> int:
    """Roll back several patches of one stream in one revision. Returns its number.

    Raises:
        Conflict: as `move` does, for any of them.
    """
    for patch in leaving:
        await _step(tx, patch, why, now, ending=Status.ROLLED_BACK)
    ended = tuple(patch.id for patch in leaving)
    stream = leaving[0].spec.tenant, leaving[0].spec.service
    revision = await advance.advance(tx, signer, stream, advance.Step(ended=ended), now)
    await duties.wake(tx)
    return revision


async def _step(tx: AsyncConnection, patch: Patch, to: To, now: datetime, **columns: Any) -> Patch:
    check_transition(patch.status, to.status)
    moved = await patches.set_status(tx, patch, to.status, to.reason, now, **columns)
    if moved is None:
        raise Conflict(f"patch {patch.id} changed meanwhile")
    await _record(tx, patch, moved, to, now)
    return moved


async def _record(tx: AsyncConnection, before: Patch, after: Patch, to: To, now: datetime) -> None:
    actor = to.actor if isinstance(to.actor, Actor) else None
    name = actor.name if actor is not None else str(to.actor)
    event = trail.Event(now, before.status, to.status, name, to.reason)
    await trail.add_event(tx, before.spec.tenant, before.id, event)
    changed = [name for name in _TOLD if getattr(before, name) != getattr(after, name)]
    act = trail.Act(
        tenant=before.spec.tenant,
        actor=name,
        action=f"patch.{to.status.lower()}",
        subject=f"patch/{before.id}",
        request_id=actor and actor.request_id,
        role=actor and actor.role,
        source=actor and actor.source,
        before={"status": before.status, **{name: getattr(before, name) for name in changed}},
        after={"status": to.status, "reason": to.reason, **{name: getattr(after, name) for name in changed}},
        decision_id=(after.decision_summary or {}).get("decision_id"),
    )
    await trail.audit_act(tx, act, now)
