"""What a dry run answers with."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from hms_mgt.api.views import WindowView
from hms_mgt.domain.profile import Totals
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import HmsError
from hms_mgt.ports import Verdict
from hms_mgt.usecases.dry_run import Rehearsal


class RefusalView(BaseModel):
    """One reason why the patch would not be taken in."""

    code: str
    detail: str
    errors: list[dict[str, str]]
    facts: dict[str, Any] = Field(description="What a program needs to go on: conflicts, excess, freeze")


class PolicyView(BaseModel):
    """What GOV would decide. `verdict` is `unavailable` where it does not answer."""

    verdict: str
    reasons: list[str]
    obligations: list[Any]
    policy_revision: str | None


class ReachView(BaseModel):
    """One of the tenant's instances, and whether the patch would reach it."""

    instance: str
    service: str
    version: str
    hit: bool
    reason: str = Field(description="Why it is missed, version or service; empty where it is hit")
    changes: list[dict[str, Any]] = Field(
        description="What would change there, also where only what it supersedes ends"
    )


class EffectView(BaseModel):
    """What would change for every instance of one version."""

    version: str
    base_known: bool
    before: dict[str, Any]
    after: dict[str, Any]
    changes: list[dict[str, Any]]
    diff: str = Field(description="The same for people: a unified diff of the YAML")
    shadowed: list[str] = Field(description="Knobs that a patch of a higher place in the fold decides")


class UsageView(BaseModel):
    """What the tenant asks for, from this instant on."""

    at: str
    replicas: int
    cpu: str
    memory: str


class QuotaView(BaseModel):
    """What the tenant may ask for, and what it asks for over the patch's window."""

    bounds: dict[str, Any]
    before: list[UsageView]
    after: list[UsageView]


class DryRunView(BaseModel):
    """What a submission would meet and do. Nothing was stored."""

    dry_run: bool = True
    accepted: bool = Field(description="Whether the submission would be taken in and QUEUED")
    tenant: str
    service: str
    window: WindowView
    refusals: list[RefusalView]
    conflicts: list[dict[str, Any]] = Field(description="Patches in the way: id, knobs, versions, overlap")
    policy: PolicyView
    rejection: str | None = Field(description="Why its review would reject it, whether by the policy or by HMS-MGT")
    quota: QuotaView
    freeze_exemption: str | None
    instances: list[ReachView]
    versions: list[EffectView]
    blast_radius: float = Field(description="Share of the tenant's instances that the patch is for, from 0 to 1")


def dry_run_view(seen: Rehearsal) -> DryRunView:
    """Show a rehearsal."""
    window, mine = seen.spec.window, seen.spec.service
    by_version = {one.version: [change._asdict() for change in one.changes] for one in seen.effects}
    return DryRunView(
        accepted=not seen.refusals,
        tenant=seen.spec.tenant,
        service=seen.spec.service,
        window=WindowView(start=rfc3339(window.start), end=None if window.end is None else rfc3339(window.end)),
        refusals=[_refusal(error) for error in seen.refusals],
        conflicts=[one for error in seen.refusals for one in error.facts.get("conflicts", [])],
        policy=_policy(seen),
        rejection=seen.rejection,
        quota=QuotaView(
            bounds=seen.usage.bounds.bounds(), before=_usage(seen.usage.before), after=_usage(seen.usage.after)
        ),
        freeze_exemption=seen.freeze_exemption,
        instances=[
            ReachView(**one._asdict(), changes=by_version.get(one.version, []) if one.service == mine else [])
            for one in seen.reach
        ],
        versions=[
            EffectView(**{**one._asdict(), "changes": by_version[one.version], "shadowed": list(one.shadowed)})
            for one in seen.effects
        ],
        blast_radius=round(seen.blast_radius, 4),
    )


def _refusal(error: HmsError) -> RefusalView:
    problems = [one._asdict() for one in error.problems]
    return RefusalView(code=error.code, detail=error.detail, errors=problems, facts=error.facts)


def _policy(seen: Rehearsal) -> PolicyView:
    if not isinstance(seen.verdict, Verdict):
        return PolicyView(verdict="unavailable", reasons=[seen.verdict.detail], obligations=[], policy_revision=None)
    told = seen.verdict
    return PolicyView(
        verdict="allow" if told.allowed else "deny",
        reasons=list(told.reasons),
        obligations=list(told.obligations),
        policy_revision=told.policy_revision,
    )


def _usage(profile: list[tuple[datetime, Totals]]) -> list[UsageView]:
    return [UsageView.model_validate({"at": rfc3339(at), **totals.shown()}) for at, totals in profile]
