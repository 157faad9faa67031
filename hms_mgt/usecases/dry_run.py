"""Answers what a submission would meet and do: the very same look, with nothing stored."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt import validator
from hms_mgt.domain import access, admission, plan, preview, quota
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import PatchSpec
from hms_mgt.domain.preview import Effect, Reach
from hms_mgt.domain.profile import Totals
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.window import Window
from hms_mgt.errors import HmsError, Unavailable
from hms_mgt.ports import Governance, Verdict
from hms_mgt.store import instances, patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.admit import known, look
from hms_mgt.usecases.objection import objection
from hms_mgt.usecases.review import question, refusal


class Usage(NamedTuple):
    """What the tenant asks for over the patch's window, without it and with it, and what it may."""

    bounds: Quota
    before: list[tuple[datetime, Totals]]
    after: list[tuple[datetime, Totals]]


class Rehearsal(NamedTuple):
    """What a submission would meet and do."""

    spec: PatchSpec
    # Each reason why it would not be taken in; none: it would be QUEUED.
    refusals: Sequence[HmsError]
    # What GOV says, or why it says nothing.
    verdict: Verdict | Unavailable
    # Why its review would reject it; None where it would not, or as long as GOV does not answer.
    rejection: str | None
    reach: list[Reach]
    effects: list[Effect]
    usage: Usage
    freeze_exemption: str | None

    @property
    def blast_radius(self) -> float:
        """Return the share of the tenant's instances that the patch is for, from 0 to 1."""
        return sum(one.hit for one in self.reach) / len(self.reach) if self.reach else 0.0


async def rehearse(db: Database, governance: Governance, actor: Actor, document: Any, now: datetime) -> Rehearsal:
    """Tell what would happen if this were submitted now.

    Raises:
        Forbidden: the role may not submit, or the tenant is not the token's.
        Invalid: the document breaks a rule, or names an unknown tenant or service.
    """
    access.require(actor, Permission.SUBMIT)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        spec = validator.validate(document, now)
        scene = await look(tx, spec, await known(tx, actor, spec, now), now, counted=True)
        fleet = await instances.fleet(tx, spec.tenant, None, now)
        here = await patches.standing(tx, spec.tenant, spec.service)
        objected = await objection(tx, preview.as_approved(spec, scene.begins), {}, (), now)
    known_then = [plan.as_known(one, one.status, scene.freezes, now) for one in here]
    verdict = await _verdict(governance, actor, spec)
    return Rehearsal(
        spec=spec,
        refusals=admission.refusals(spec, scene, actor.role),
        verdict=verdict,
        rejection=_refused(spec, verdict) or objected,
        reach=preview.reach(spec, [one for one in fleet if one.gone_at is None]),
        effects=preview.effects(spec, scene.versions, scene.deployments, known_then, scene.begins),
        usage=_usage(spec, scene),
        freeze_exemption=admission.exemption(spec, scene, actor.role),
    )


async def _verdict(governance: Governance, actor: Actor, spec: PatchSpec) -> Verdict | Unavailable:
    try:
        return await governance.evaluate(question(0, spec, actor.name, actor.role))
    except Unavailable as error:
        return error


def _refused(spec: PatchSpec, verdict: Verdict | Unavailable) -> str | None:
    return refusal(spec, verdict) if isinstance(verdict, Verdict) else None


def _usage(spec: PatchSpec, scene: admission.Scene) -> Usage:
    window: Window = spec.window
    before = quota.usage(scene.deployments, scene.counting, window)
    return Usage(scene.bounds, before, quota.usage(scene.deployments, scene.counting, window, spec))
