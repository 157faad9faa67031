"""Registers tenants, deployments and tokens: what operators do from the machine itself."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import ids, knobs
from hms_mgt.domain.deployment import CARRIES, Deployment
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Conflict, Invalid, NotFound, Problem
from hms_mgt.store import catalog, duties, tokens, trail
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_svc import selector, yaml_tree

_OPERATOR = "operator"


async def register_tenant(db: Database, name: str, quota: Quota, now: datetime) -> bool:
    """Register a tenant with its quota. Returns False, and changes nothing, when it is known."""
    _check_id(name, "/tenant")
    async with db.transaction(EVERY_TENANT) as tx:
        if not await catalog.add_tenant(tx, name, now):
            return False
        await catalog.put_quota(tx, name, quota)
        detail = {"quota": quota._asdict()}
        await trail.audit_act(tx, _act(name, "tenant.registered", f"tenant/{name}", detail), now)
        await duties.wake(tx)
    return True


async def change_quota(db: Database, name: str, quota: Quota, now: datetime) -> None:
    """Change a registered tenant's quota. Patches that were approved under the old one stay.

    Raises:
        Invalid: the tenant is unknown.
    """
    async with db.transaction(EVERY_TENANT) as tx:
        await _check_tenant(tx, name)
        before = await catalog.get_quota(tx, name)
        await catalog.put_quota(tx, name, quota)
        detail = {"quota": quota._asdict(), "before": before._asdict()}
        await trail.audit_act(tx, _act(name, "quota.changed", f"tenant/{name}", detail), now)
        await duties.wake(tx)


class NewDeployment(NamedTuple):
    """One version of a service for a tenant, with its conf.yml before any patch."""

    tenant: str
    service: str
    version: str
    conf: str
    orchestrator: str | None = None


async def register_deployment(db: Database, new: NewDeployment, now: datetime) -> None:
    """Register what runs for a tenant, or replace its base.

    Raises:
        Invalid: an id, the version or the conf.yml is not one, the tenant or the orchestrator is unknown.
    """
    _check_id(new.service, "/service")
    _check_orchestrator(new.orchestrator)
    tenant, service, version, conf, orchestrator = new
    one = Deployment(tenant, service, _version(version), conf, _base(conf), orchestrator)
    async with db.transaction(EVERY_TENANT) as tx:
        await _check_tenant(tx, tenant)
        await catalog.put_deployment(tx, one, now)
        subject = f"deployment/{tenant}/{service}/{version}"
        # The text itself stands in the deployment.
        detail = {"conf_sha256": hashlib.sha256(conf.encode()).hexdigest(), "orchestrator": orchestrator}
        await trail.audit_act(tx, _act(tenant, "deployment.registered", subject, detail), now)
        await duties.wake(tx)


async def register_token(db: Database, digest: str, what: tokens.StoredToken, now: datetime) -> None:
    """Store a token by its hash.

    Raises:
        Conflict: another token has this name.
    """
    detail = {"role": what.role, "tenant": what.tenant}
    try:
        async with db.transaction(EVERY_TENANT) as tx:
            await tokens.add(tx, digest, what, now)
            await trail.audit_act(tx, _act(what.tenant, "token.created", f"token/{what.name}", detail), now)
    except IntegrityError as error:
        raise Conflict(f"a token named {what.name} exists already") from error


async def revoke_token(db: Database, name: str, now: datetime) -> None:
    """Revoke a token by its name; whoever holds it is not known from now on.

    Raises:
        NotFound: no token of this name is good.
    """
    async with db.transaction(EVERY_TENANT) as tx:
        revoked = await tokens.revoke(tx, name, now)
        if revoked is None:
            raise NotFound(f"no token named {name} is good: there is none, or it was revoked already")
        act = _act(revoked.tenant, "token.revoked", f"token/{name}", {"role": revoked.role})
        await trail.audit_act(tx, act, now)


def _act(tenant: str | None, action: str, subject: str, detail: Mapping[str, Any]) -> trail.Act:
    return trail.Act(tenant, _OPERATOR, action, subject, detail)


def _check_id(name: str, pointer: str) -> None:
    if not ids.is_id(name):
        raise Invalid.of([Problem(pointer, f"{name!r} {ids.RULE}")])


async def _check_tenant(tx: AsyncConnection, name: str) -> None:
    if not await catalog.tenant_exists(tx, name):
        raise Invalid.of([Problem("/tenant", f"unknown tenant {name}")])


def _check_orchestrator(name: str | None) -> None:
    if name is not None and name not in CARRIES:
        raise Invalid.of([Problem("/orchestrator", f"there is only {', '.join(CARRIES)}, not {name}")])


def _version(text: str) -> str:
    try:
        selector.Version.parse(text)
    except ValueError as error:
        raise Invalid.of([Problem("/version", str(error))]) from None
    return text


def _base(conf: str) -> Mapping[str, Any]:
    try:
        document = yaml_tree.load(conf)
    except yaml_tree.YamlError as error:
        raise Invalid.of([Problem(f"/conf{error.pointer}", str(error))]) from None
    if not isinstance(document, dict):
        raise Invalid.of([Problem("/conf", "conf.yml must hold a mapping")])
    # Patches are folded onto this, and their quota is counted with it: the limits are the same.
    found = knobs.known_problems(document, "/conf")
    if found:
        raise Invalid.of(found)
    return document
