"""Makes the next revision of a stream: signed, stored, and waiting in the outbox, all in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
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
    held, said = await _held(tx, tenant, service)
    put = [_entry(patch, said[patch.id]) for patch in step.put]
    snapshot = messages.snapshot_payload(tenant, service, revision, issued, held)
    delta = messages.delta_payload(tenant, service, revision, issued, put, step.ended)
    signed = signer.stream_message(snapshot), signer.stream_message(delta)
    await streams.commit_revision(tx, streams.Revision(tenant, service, revision, *signed, held), now)
    return revision


async def renew(tx: AsyncConnection, signer: Signer, stream: tuple[str, str], now: datetime) -> None:
    """Sign the stream's snapshot anew, at the revision it has: other keys sign now than when it was made."""
    tenant, service = stream
    head = await streams.head(tx, tenant, service, lock=True)
    if head is not None and not signer.signs_like(head.snapshot):
        held, _ = await _held(tx, tenant, service)
        snapshot = messages.snapshot_payload(tenant, service, head.revision, now.timestamp(), held)
        await streams.replace_snapshot(tx, head, signer.stream_message(snapshot))


async def _held(
    tx: AsyncConnection, tenant: str, service: str
) -> tuple[list[dict[str, object]], Mapping[int, Sequence[Approval]]]:
    """Return the stream's entries, and who approved what is in them."""
    carried = await patches.in_stream(tx, tenant, service)
    said = await approvals.of_patches(tx, [patch.id for patch in carried])
    return [_entry(patch, said[patch.id]) for patch in carried], said


def _entry(patch: Patch, said: Iterable[Approval]) -> dict[str, object]:
    """Return a patch as its stream carries it: GOV's decision, its place in the order, whom it admits, who approved."""
    assert patch.decision is not None, "only approved patches are in a stream"  # noqa: S101
    assert patch.approval_order is not None, "only approved patches are in a stream"  # noqa: S101
    return messages.entry(patch.approval_order, wire.ADMIT_ALL, dict(patch.decision), as_signed(said))
