"""Has a queued patch judged: the quota by MGT, the policy by GOV. No answer from GOV means no progress."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from hms_mgt.domain import approval
from hms_mgt.domain.patch import Patch, PatchSpec, Status
from hms_mgt.errors import Unavailable
from hms_mgt.ports import Clock, Governance, Verdict
from hms_mgt.signer import Signer
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.begin import let_through, marked
from hms_mgt.usecases.move import To, move
from hms_mgt.usecases.objection import objection
from hms_svc import wire

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
        await _settle(reviewer, patch.id, await reviewer.governance.decide(_question(patch)))
    except Unavailable as error:
        await _wait(reviewer, patch, error.detail)
    except Exception:
        await _wait(reviewer, patch, "the review failed on our side")
        raise
    return True


def question(patch_id: int, spec: PatchSpec, author: str, author_role: str) -> dict[str, Any]:
    """Put the question to GOV: a patch's content word for word, and who asks. One that is not stored has the id 0."""
    return {
        "patch_id": patch_id,
        "tenant": spec.tenant,
        "service": spec.service,
        "version_selector": spec.version_selector,
        "changes": dict(spec.changes),
        "window": {
            "start": wire.rfc3339(spec.window.start.timestamp()),
            "end": None if spec.window.end is None else wire.rfc3339(spec.window.end.timestamp()),
        },
        "priority": spec.priority,
        "author": author,
        "author_role": author_role,
        "reason": spec.reason,
        "break_glass": spec.break_glass,
    }


def _question(patch: Patch) -> dict[str, Any]:
    return question(patch.id, patch.spec, patch.author, patch.author_role)


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
        summary = _summary(patch, verdict)
        refused = refusal(patch.spec, verdict) or await objection(tx, patch, verdict.envelope, (), now)
        if refused is not None:
            to = To(Status.REJECTED, _ACTOR, refused)
            await move(tx, reviewer.signer, patch, to, now, decision_summary=summary)
            return
        columns = {"decision": verdict.envelope, "decision_summary": summary}
        waiting = approval.missing(approval.read_obligations(verdict.obligations), ())
        if waiting is None:
            to = To(Status.APPROVED, "hms-gov", f"policy {verdict.policy_revision} allows it")
            await let_through(tx, reviewer.signer, patch, to, now, **columns)
        else:
            to = To(Status.AWAITING_APPROVAL, "hms-gov", marked(patch, waiting))
            await move(tx, reviewer.signer, patch, to, now, **columns, obligations=list(verdict.obligations))


def refusal(spec: PatchSpec, verdict: Verdict) -> str | None:
    """Say why GOV's verdict does not let the patch go on, or return `None`."""
    if not verdict.allowed:
        return "GOV denies: " + ("; ".join(verdict.reasons) or "no reason given")
    try:
        approval.read_obligations(verdict.obligations)
    except approval.UnknownObligationError as error:
        return f"GOV obliges {json.dumps(verdict.obligations)}, which cannot be carried out: {error}"
    return _ends_early(spec, verdict)


def _ends_early(spec: PatchSpec, verdict: Verdict) -> str | None:
    """Refuse a decision that would end before its window does: sidecars would let go of the patch unannounced."""
    end = spec.window.end
    if verdict.expires is None or (end is not None and verdict.expires >= end.timestamp()):
        return None
    return f"GOV's decision ends at {wire.rfc3339(verdict.expires)}, before the window does"


def _summary(patch: Patch, verdict: Verdict) -> dict[str, Any]:
    """Return what people are shown of a decision."""
    told = {
        "decision_id": verdict.decision_id,
        "verdict": "allow" if verdict.allowed else "deny",
        "reasons": list(verdict.reasons),
        "obligations": list(verdict.obligations),
        "policy_revision": verdict.policy_revision,
    }
    return told | ({"break_glass": True} if patch.spec.break_glass else {})
