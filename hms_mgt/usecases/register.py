"""Registers tenants, deployments and tokens: what operators do from the machine itself."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hms_mgt.domain import ids
from hms_mgt.domain.access import Role
from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Invalid, Problem
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


async def register_deployment(
    db: Database, stream: tuple[str, str], version: str, conf: str, orchestrator: str | None, now: datetime
) -> Deployment:
    """Register one version of a service for a tenant (`stream` is tenant and service), with its base conf.yml.

    Raises:
        Invalid: an id, the version or the conf.yml is not one.
    """
    tenant, service = stream
    _check_id(service, "/service")
    one = Deployment(tenant, service, _version(version), conf, _base(conf), orchestrator)
    async with db.transaction(EVERY_TENANT) as tx:
        await catalog.put_deployment(tx, one, now)
        subject = f"deployment/{tenant}/{service}/{version}"
        await trail.audit_act(tx, _act(tenant, "deployment.registered", subject, {"conf": conf}), now)
        await duties.wake(tx)
    return one


async def register_token(
    db: Database, digest: str, name: str, role: Role, tenant: str | None, now: datetime
) -> None:
    """Store a token by its hash."""
    async with db.transaction(EVERY_TENANT) as tx:
        await tokens.add(tx, digest, tokens.StoredToken(name, role, tenant), now)
        detail = {"role": role, "tenant": tenant}
        await trail.audit_act(tx, _act(tenant, "token.created", f"token/{name}", detail), now)


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
