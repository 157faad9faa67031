"""Takes a checked patch in: held against what stands, under locks, and stored as QUEUED."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import access, admission, quota
from hms_mgt.domain.access import Actor
from hms_mgt.domain.admission import Scene, window_shown
from hms_mgt.domain.deployment import Deployment, touches_resources
from hms_mgt.domain.patch import PENDING, Patch, PatchSpec, Status
from hms_mgt.errors import HmsError, Invalid, KeyReused, Problem
from hms_mgt.signer import Signer
from hms_mgt.store import catalog, duties, freezes, patches, surroundings, trail
from hms_mgt.store.surroundings import Surroundings
from hms_mgt.usecases.move import To, move


class Origin(NamedTuple):
    """The request a patch came by: how a retry of it is known again, and why no freeze holds it, if so."""

    body_digest: str
    idempotency_key: str | None = None
    freeze_exemption: str | None = None


class Proposal(NamedTuple):
    """A checked patch with who wants it, about to be held against what stands."""

    actor: Actor
    spec: PatchSpec
    origin: Origin


class Accepted(NamedTuple):
    """What the caller is told: the patch is stored and QUEUED."""

    patch_id: int
    spec: PatchSpec


async def once(take: Callable[[], Awaitable[Accepted]]) -> Accepted:
    """Take a request in. Of two with one Idempotency-Key that arrive at once, the later gets the earlier's answer."""
    try:
        return await take()
    except IntegrityError:
        return await take()


async def earlier(tx: AsyncConnection, actor: Actor, origin: Origin) -> Accepted | None:
    """Return what an earlier request of the actor with the same Idempotency-Key was told, if there was one.

    Raises:
        KeyReused: that request had another body.
    """
    if origin.idempotency_key is None:
        return None
    found = await patches.by_idempotency_key(tx, actor.name, origin.idempotency_key)
    if found is None:
        return None
    patch, digest = found
    if digest != origin.body_digest:
        raise KeyReused("this Idempotency-Key was used with another body")
    return Accepted(patch.id, patch.spec)


async def known(tx: AsyncConnection, actor: Actor, spec: PatchSpec, now: datetime) -> Surroundings:
    """Hold the patch to a tenant and a service that are registered. Returns what there is of both.

    Raises:
        Forbidden: the tenant is not the actor's.
        Invalid: the tenant or the service is unknown.
    """
    found = await surroundings.around(tx, spec.tenant, spec.service, now)
    if not found.tenant_known:
        raise Invalid.of([Problem("/tenant", f"unknown tenant {spec.tenant}")])
    access.require_tenant(actor, spec.tenant)
    if not found.catalogued:
        raise Invalid.of([Problem("/service", f"unknown service {spec.service} for tenant {spec.tenant}")])
    return found


async def look(
    tx: AsyncConnection, spec: PatchSpec, found: Surroundings, now: datetime, *, counted: bool = False
) -> Scene:
    """Read all that the patch is held against. Until the transaction ends nobody else can take what it takes.

    A quota is counted where the patch, or what it ends, asks for resources, and with `counted` in any case.
    """
    holds = await freezes.of_tenant(tx, spec.tenant, now) if found.frozen else []
    superseded = await patches.lock_all(tx, spec.supersedes) if spec.supersedes else []
    bounds, deployments, counting = found.bounds, list[Deployment](), list[Patch]()
    if counted or any(touches_resources(one.changes) for one in (spec, *(old.spec for old in superseded))):
        bounds = await catalog.get_quota(tx, spec.tenant, lock=True)
        deployments = await catalog.deployments(tx, spec.tenant)
        counting = await patches.counting(tx, spec.tenant, spec.window)
    await patches.lock_service(tx, spec.tenant, spec.service)
    return Scene(
        versions=found.catalogued | found.live,
        rivals=await patches.rivals(tx, spec),
        superseded=superseded,
        deployments=deployments,
        counting=counting,
        bounds=quota.tightest(bounds, found.cap),
        freezes=holds,
        begins=max(now, spec.window.start),
    )


async def admit(tx: AsyncConnection, signer: Signer, proposal: Proposal, now: datetime) -> Accepted:
    """Store the patch as QUEUED, unless something that stands refuses it; what it replaces unapproved is withdrawn.

    Raises:
        Forbidden: the tenant is not the actor's.
        Invalid, Conflict: the first refusal, with what it takes to go on.
    """
    actor, spec, origin = proposal
    scene = await look(tx, spec, await known(tx, actor, spec, now), now)
    exempt = origin.freeze_exemption or admission.exemption(spec, scene, actor.role)
    if origin.freeze_exemption is not None:
        scene = scene._replace(freezes=())
    for refusal in admission.refusals(spec, scene, actor.role):
        # What is in the way may be what an earlier try of this very request made, while this one waited its turn.
        return await _earlier_or(refusal, tx, actor, origin)
    new = patches.NewPatch(spec, actor.name, actor.role, origin.idempotency_key, origin.body_digest, exempt)
    accepted = Accepted(await patches.add(tx, new, now), spec)
    await _record(tx, actor, new, accepted, now)
    for replaced in scene.superseded:
        if replaced.status in PENDING:
            to = To(Status.CANCELLED, actor, f"replaced by patch {accepted.patch_id}")
            await move(tx, signer, replaced, to, now, superseded_by=accepted.patch_id)
    await duties.wake(tx)
    return accepted


async def _earlier_or(refusal: HmsError, tx: AsyncConnection, actor: Actor, origin: Origin) -> Accepted:
    before = await earlier(tx, actor, origin)
    if before is None:
        raise refusal
    return before


async def _record(tx: AsyncConnection, actor: Actor, new: patches.NewPatch, done: Accepted, now: datetime) -> None:
    tenant = done.spec.tenant
    marks = ["break-glass"] if done.spec.break_glass else []
    marks += [f"no freeze holds it: {new.freeze_exemption}"] if new.freeze_exemption else []
    words = "; ".join(filter(None, [done.spec.reason, *marks]))
    await trail.add_event(tx, tenant, done.patch_id, trail.Event(now, None, Status.QUEUED, actor.name, words))
    after = {
        **done.spec._asdict(),
        "window": window_shown(done.spec.window),
        "status": Status.QUEUED,
        "author": actor.name,
        "freeze_exemption": new.freeze_exemption,
    }
    detail = {"body_digest": new.body_digest}
    act = trail.act_of(actor, tenant, "patch.queued", f"patch/{done.patch_id}", after=after, detail=detail)
    await trail.audit_act(tx, act, now)
