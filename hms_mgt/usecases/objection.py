"""What MGT itself holds against a patch: asked at its review, and again when the last approval comes."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import quota
from hms_mgt.domain.approval import Approval, as_signed
from hms_mgt.domain.deployment import Deployment, carried_out_by_nobody
from hms_mgt.domain.patch import Patch, PatchSpec
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.window import rfc3339
from hms_mgt.store import approvals, catalog, patches
from hms_svc import messages, wire


async def objection(
    tx: AsyncConnection, patch: Patch, decision: Mapping[str, Any], said: Sequence[Approval], now: datetime
) -> str | None:
    """Say why the patch cannot be carried out, or return `None`. `said` is what people have said about it."""
    if patch.spec.window.over(now):
        return f"the window ended at {rfc3339(patch.spec.window.end or now)} before the patch was approved"
    if patch.spec.supersedes:
        # To be withdrawn with the approval; patches are locked before the quota, as everywhere.
        await patches.lock_all(tx, patch.spec.supersedes)
    bounds = quota.tightest(await catalog.get_quota(tx, patch.spec.tenant), await catalog.platform_cap(tx))
    deployments = await catalog.deployments(tx, patch.spec.tenant)
    carried = await patches.to_carry(tx, patch.spec.tenant)
    return (
        _nobody_scales(patch, deployments)
        or _over_quota(bounds, patch.spec, deployments, carried)
        or await _stream_full(tx, [one for one in carried if one.spec.service == patch.spec.service], decision, said)
    )


def _over_quota(bounds: Quota, spec: PatchSpec, deployments: list[Deployment], others: list[Patch]) -> str | None:
    """Ask again what the submission asked: the quota may be another one by now."""
    for problem in quota.over_caps(bounds, spec.changes):
        return problem.detail
    excess = quota.exceeded(bounds, spec, deployments, others)
    return None if excess is None else excess.words(spec.tenant)


def _nobody_scales(patch: Patch, deployments: list[Deployment]) -> str | None:
    missing = carried_out_by_nobody(patch, deployments)
    return f"no orchestrator carries out {', '.join(missing)} for {patch.spec.service}" if missing else None


async def _stream_full(
    tx: AsyncConnection, others: list[Patch], decision: Mapping[str, Any], said: Sequence[Approval]
) -> str | None:
    """Refuse what would make the stream's snapshot larger than a message may be."""
    of_others = await approvals.of_patches(tx, [one.id for one in others])
    inside = [(dict(one.decision or {}), of_others[one.id]) for one in others] + [(dict(decision), said)]
    entries = [messages.entry(0, wire.ADMIT_ALL, envelope, as_signed(words)) for envelope, words in inside]
    # The payload travels as base64: four bytes for three. The rest of the message is small beside it.
    size = sum(len(json.dumps(entry)) + 100 for entry in entries) * 4 // 3 + 4000
    if size <= wire.MAX_BYTES and len(entries) <= messages.MAX_PATCHES:
        return None
    return "the patches for this service would no longer fit one message; end some first"
