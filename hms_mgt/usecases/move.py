"""The one way a patch changes state: guarded, with its event, audit row, revision and outbox row together."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.patch import IN_STREAM, Patch, Status, check_transition, stream_changes
from hms_mgt.errors import Conflict
from hms_mgt.signer import Signer
from hms_mgt.store import duties, patches, trail
from hms_mgt.usecases import advance


class To(NamedTuple):
    """Where a patch goes, who says so and why."""

    status: Status
    actor: str
    reason: str
    request_id: str | None = None


async def move(tx: AsyncConnection, signer: Signer, patch: Patch, to: To, now: datetime, **columns: Any) -> Patch:
    """Take a patch to its next state. `columns` are further columns of its row that change with it.

    Raises:
        Conflict: when the table of transitions forbids it, or somebody else moved the patch first.
    """
    check_transition(patch.status, to.status)
    moved = await patches.set_status(tx, patch, to.status, to.reason, now, **columns)
    if moved is None:
        raise Conflict(f"patch {patch.id} changed meanwhile")
    await _record(tx, patch, to, now)
    if stream_changes(patch.status, to.status):
        step = advance.Step(put=moved) if to.status in IN_STREAM else advance.Step(ended=moved.id)
        await advance.advance(tx, signer, (moved.spec.tenant, moved.spec.service), step, now)
    await duties.wake(tx)
    return moved


async def _record(tx: AsyncConnection, before: Patch, to: To, now: datetime) -> None:
    event = trail.Event(now, before.status, to.status, to.actor, to.reason)
    await trail.add_event(tx, before.spec.tenant, before.id, event)
    act = trail.Act(
        tenant=before.spec.tenant,
        actor=to.actor,
        action=f"patch.{to.status.lower()}",
        subject=f"patch/{before.id}",
        detail={"from": before.status, "to": to.status, "reason": to.reason},
        request_id=to.request_id,
    )
    await trail.audit_act(tx, act, now)
