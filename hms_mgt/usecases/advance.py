"""Makes the next revision of a stream: signed, stored, and waiting in the outbox, all in one transaction."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.approval import Approval, as_signed
from hms_mgt.domain.patch import Patch
from hms_mgt.signer import Signer
from hms_mgt.store import approvals, patches, streams
from hms_svc import messages, wire


class Step(NamedTuple):
    """What changes from one revision to the next: patches put in, and the ids of those that ended."""

    put: tuple[Patch, ...] = ()
    ended: tuple[int, ...] = ()


async def advance(tx: AsyncConnection, signer: Signer, stream: tuple[str, str], step: Step, now: datetime) -> int:
    """Commit the next revision of the stream (tenant, service). Returns its number.

    The patches' new states must be stored already: the snapshot is read back from them.
    """
    tenant, service = stream
    revision = await streams.next_revision(tx, tenant, service)
    issued = now.timestamp()
    carried = await patches.in_stream(tx, tenant, service)
    said = await approvals.of_patches(tx, [patch.id for patch in carried])
    held = [_entry(patch, said[patch.id]) for patch in carried]
    put = [_entry(patch, said[patch.id]) for patch in step.put]
    snapshot = messages.snapshot_payload(tenant, service, revision, issued, held)
    delta = messages.delta_payload(tenant, service, revision, issued, put, step.ended)
    signed = signer.stream_message(snapshot), signer.stream_message(delta)
    await streams.commit_revision(tx, streams.Revision(tenant, service, revision, *signed, held), now)
    return revision


def _entry(patch: Patch, said: Iterable[Approval]) -> dict[str, object]:
    """Return a patch as its stream carries it: GOV's decision, its place in the order, whom it admits, who approved."""
    assert patch.decision is not None, "only approved patches are in a stream"  # noqa: S101
    assert patch.approval_order is not None, "only approved patches are in a stream"  # noqa: S101
    return messages.entry(patch.approval_order, wire.ADMIT_ALL, dict(patch.decision), as_signed(said))
