"""Has a queued patch judged: the quota by MGT, the policy by GOV. No answer from GOV means no progress."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import quota
from hms_mgt.domain.deployment import Deployment, carried_out_by_nobody
from hms_mgt.domain.patch import Patch, Status
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import Unavailable
from hms_mgt.ports import Clock, Governance, Verdict
from hms_mgt.signer import Signer
from hms_mgt.store import catalog, patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.move import To, move
from hms_svc import messages, wire

# Longer than GOV's time-out: nobody else asks about the same patch meanwhile.
LEASE = timedelta(seconds=10)
_LONGEST_BACKOFF_S = 5.0
_ACTOR = "hms-mgt"


class Reviewer(NamedTuple):
    """What a review needs. `jitter` returns a fraction in [0, 1)."""

    db: Database
    governance: Governance
    signer: Signer
    clock: Clock
    jitter: Callable[[], float]


async def review_next(reviewer: Reviewer) -> bool:
    """Review one queued patch whose time has come. Returns False when there was none."""
    async with reviewer.db.transaction(EVERY_TENANT) as tx:
        patch = await patches.claim_queued(tx, reviewer.clock.now(), LEASE)
    if patch is None:
        return False
    try:
        await _settle(reviewer, patch.id, await reviewer.governance.decide(facts(patch)))
    except Unavailable as error:
        await _wait(reviewer, patch, error.detail)
    except Exception:
        await _wait(reviewer, patch, "the review failed on our side")
        raise
    return True


def facts(patch: Patch) -> dict[str, Any]:
    """Put the question to GOV: the patch's content word for word, and who asks."""
    spec = patch.spec
    return {
        "patch_id": patch.id,
        "tenant": spec.tenant,
        "service": spec.service,
        "version_selector": spec.version_selector,
        "changes": dict(spec.changes),
        "window": {
            "start": wire.rfc3339(spec.window.start.timestamp()),
            "end": None if spec.window.end is None else wire.rfc3339(spec.window.end.timestamp()),
        },
        "priority": spec.priority,
        "author": patch.author,
        "author_role": patch.author_role,
        "reason": spec.reason,
    }


async def _wait(reviewer: Reviewer, patch: Patch, why: str) -> None:
    """Leave the patch QUEUED, visibly, with full jitter so that a returning GOV is not stormed."""
    longest = min(_LONGEST_BACKOFF_S, 0.25 * 2 ** min(patch.attempts, 10))
    pause = timedelta(seconds=0.1 + longest * reviewer.jitter())
    async with reviewer.db.transaction(EVERY_TENANT) as tx:
        words = f"{why}; tried {patch.attempts} times, trying again"
        await patches.retry_at(tx, patch, words, reviewer.clock.now() + pause)


async def _settle(reviewer: Reviewer, patch_id: int, verdict: Verdict) -> None:
    now = reviewer.clock.now()
    async with reviewer.db.transaction(EVERY_TENANT) as tx:
        patch = await patches.get(tx, patch_id, lock=True)
        if patch is None or patch.status is not Status.QUEUED:
            return
        summary = _summary(verdict)
        refusal = await _refusal(tx, patch, verdict, now)
        if refusal is not None:
            to = To(Status.REJECTED, _ACTOR, refusal)
            await move(tx, reviewer.signer, patch, to, now, decision_summary=summary)
            return
        order = await patches.next_approval_order(tx)
        to = To(Status.APPROVED, "hms-gov", f"policy {verdict.policy_revision} allows it")
        columns = {"decision": verdict.envelope, "decision_summary": summary, "approval_order": order}
        approved = await move(tx, reviewer.signer, patch, to, now, **columns)
        await begin(tx, reviewer.signer, approved, now)


async def begin(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime) -> None:
    """Start an approved patch's rollout, or schedule it when its window begins later."""
    if patch.spec.window.started(now):
        await move(
            tx,
            signer,
            patch,
            To(Status.ROLLING_OUT, _ACTOR, "sent to the sidecars"),
            now,
            rollout_started_at=now,
        )
    else:
        reason = f"starts at {rfc3339(patch.spec.window.start)}"
        await move(tx, signer, patch, To(Status.SCHEDULED, _ACTOR, reason), now)


def _summary(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision_id": verdict.decision_id,
        "verdict": "allow" if verdict.allowed else "deny",
        "reasons": list(verdict.reasons),
        "policy_revision": verdict.policy_revision,
    }


async def _refusal(tx: AsyncConnection, patch: Patch, verdict: Verdict, now: datetime) -> str | None:
    """Say why the patch may not go on, or return `None`."""
    if not verdict.allowed:
        return "GOV denies: " + ("; ".join(verdict.reasons) or "no reason given")
    if verdict.obligations:
        return f"GOV obliges {json.dumps(verdict.obligations)}, which cannot be met yet"
    if patch.spec.window.over(now):
        return f"the window ended at {rfc3339(patch.spec.window.end or now)} before the patch was approved"
    bounds = await catalog.get_quota(tx, patch.spec.tenant)
    deployments = await catalog.deployments(tx, patch.spec.tenant)
    carried = await patches.to_carry(tx, patch.spec.tenant)
    return (
        _ends_early(patch, verdict)
        or _nobody_scales(patch, deployments)
        or quota.exceeded(bounds, patch, deployments, carried)
        or _stream_full([one for one in carried if one.spec.service == patch.spec.service], patch, verdict)
    )


def _ends_early(patch: Patch, verdict: Verdict) -> str | None:
    """Refuse a decision that would end before its window does: sidecars would let go of the patch unannounced."""
    end = patch.spec.window.end
    if verdict.expires is None or (end is not None and verdict.expires >= end.timestamp()):
        return None
    return f"GOV's decision ends at {wire.rfc3339(verdict.expires)}, before the window does"


def _nobody_scales(patch: Patch, deployments: list[Deployment]) -> str | None:
    missing = carried_out_by_nobody(patch, deployments)
    return f"no orchestrator carries out {', '.join(missing)} for {patch.spec.service}" if missing else None


def _stream_full(others: list[Patch], patch: Patch, verdict: Verdict) -> str | None:
    """Refuse what would make the stream's snapshot larger than a message may be."""
    inside = [one.decision for one in others] + [verdict.envelope]
    # The payload travels as base64: four bytes for three. The rest of the message is small beside it.
    size = sum(len(json.dumps(envelope)) + 100 for envelope in inside) * 4 // 3 + 1000
    if size <= wire.MAX_BYTES and len(inside) <= messages.MAX_PATCHES:
        return None
    return f"the patches for {patch.spec.service} would no longer fit one message; end some first"
