"""Takes in a patch: who asks, whether it may be, and one stored row that says QUEUED."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt import validator
from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.patch import PatchSpec, Status
from hms_mgt.errors import Invalid, KeyReused, Problem
from hms_mgt.store import catalog, duties, patches, trail
from hms_mgt.store.database import EVERY_TENANT, Database


class Submission(NamedTuple):
    """A request to change configuration. `digest` identifies the body it came in."""

    document: Any
    digest: str
    idempotency_key: str | None
    request_id: str


class Accepted(NamedTuple):
    """What the caller is told: the patch is stored and QUEUED."""

    patch_id: int
    spec: PatchSpec


async def submit(db: Database, actor: Actor, asked: Submission, now: datetime) -> Accepted:
    """Check a patch document and store it as QUEUED.

    Raises:
        Forbidden: the role may not submit, or the tenant is not the token's.
        Invalid: the document breaks a rule, or names an unknown tenant or service.
        KeyReused: the Idempotency-Key came before with another body.
    """
    access.require(actor, Permission.SUBMIT)
    try:
        return await _submit(db, actor, asked, now)
    except IntegrityError:
        # The same key arrived twice at once and the other request was first: its answer is ours.
        return await _submit(db, actor, asked, now)


async def _submit(db: Database, actor: Actor, asked: Submission, now: datetime) -> Accepted:
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        earlier = await _earlier(tx, actor, asked)
        if earlier is not None:
            return earlier
        spec = validator.validate(asked.document, now)
        await _check_known(tx, actor, spec)
        new = patches.NewPatch(spec, actor.name, actor.role, asked.idempotency_key, asked.digest)
        patch_id = await patches.add(tx, new, now)
        await _record(tx, actor, asked, Accepted(patch_id, spec), now)
        await duties.wake(tx)
        return Accepted(patch_id, spec)


async def _earlier(tx: AsyncConnection, actor: Actor, asked: Submission) -> Accepted | None:
    if asked.idempotency_key is None:
        return None
    found = await patches.by_idempotency_key(tx, actor.name, asked.idempotency_key)
    if found is None:
        return None
    patch, digest = found
    if digest != asked.digest:
        raise KeyReused("this Idempotency-Key was used with another body")
    return Accepted(patch.id, patch.spec)


async def _check_known(tx: AsyncConnection, actor: Actor, spec: PatchSpec) -> None:
    if not await catalog.tenant_exists(tx, spec.tenant):
        raise Invalid.of([Problem("/tenant", f"unknown tenant {spec.tenant}")])
    access.require_tenant(actor, spec.tenant)
    if not await catalog.deployments(tx, spec.tenant, spec.service):
        raise Invalid.of([Problem("/service", f"unknown service {spec.service} for tenant {spec.tenant}")])


async def _record(tx: AsyncConnection, actor: Actor, asked: Submission, done: Accepted, now: datetime) -> None:
    tenant = done.spec.tenant
    event = trail.Event(now, None, Status.QUEUED, actor.name, done.spec.reason)
    await trail.add_event(tx, tenant, done.patch_id, event)
    detail = {"role": actor.role, "body_digest": asked.digest}
    subject = f"patch/{done.patch_id}"
    act = trail.Act(tenant, actor.name, "patch.queued", subject, detail, asked.request_id)
    await trail.audit_act(tx, act, now)
