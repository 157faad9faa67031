"""Approvals: each person's word on a patch, appended and never changed."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from sqlalchemy import insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.approval import Approval, Word
from hms_mgt.store.tables import approval


async def add(tx: AsyncConnection, tenant: str, patch_id: int, word: Approval) -> None:
    """Append one person's word. The patch's row is locked, so that the words on it come one after the other."""
    await tx.execute(insert(approval), {"tenant": tenant, "patch_id": patch_id, **word._asdict()})


async def of_patch(tx: AsyncConnection, patch_id: int) -> list[Approval]:
    """Return the words on one patch in the order they were said."""
    return list((await of_patches(tx, [patch_id]))[patch_id])


async def of_patches(tx: AsyncConnection, patch_ids: Sequence[int]) -> Mapping[int, Sequence[Approval]]:
    """Return the words on several patches, by the patch's id, each patch's in the order they were said."""
    found: dict[int, list[Approval]] = defaultdict(list)
    query = select(approval).where(approval.c.patch_id.in_(patch_ids)).order_by(approval.c.at, approval.c.approver)
    for row in await tx.execute(query):
        found[row.patch_id].append(Approval(row.approver, row.role, Word(row.verdict), row.comment, row.at))
    return found
