"""Registers tenants, deployments and tokens: what operators do from the machine itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.exc import IntegrityError

from hms_mgt.domain import ids
from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Conflict, Invalid, Problem
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
        Invalid: an id, the version or the conf.yml is not one, or the tenant is unknown.
    """
    _check_id(new.service, "/service")
    tenant, service, version, conf, orchestrator = new
    one = Deployment(tenant, service, _version(version), conf, _base(conf), orchestrator)
    async with db.transaction(EVERY_TENANT) as tx:
        if not await catalog.tenant_exists(tx, tenant):
            raise Invalid.of([Problem("/tenant", f"unknown tenant {tenant}")])
        await catalog.put_deployment(tx, one, now)
        subject = f"deployment/{tenant}/{service}/{version}"
        await trail.audit_act(tx, _act(tenant, "deployment.registered", subject, {"conf": conf}), now)
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


def _act(tenant: str | None, action: str, subject: str, detail: Mapping[str, Any]) -> trail.Act:
    return trail.Act(tenant, _OPERATOR, action, subject, detail)


def _check_id(name: str, pointer: str) -> None:
    if not ids.is_id(name):
        raise Invalid.of([Problem(pointer, f"{name!r} {ids.RULE}")])


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
    return document
