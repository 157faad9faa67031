"""Registers tenants and deployments: what operators do from the machine itself."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import ids, knobs
from hms_mgt.domain.access import OPERATOR
from hms_mgt.domain.deployment import CARRIES, Deployment
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Invalid, Problem
from hms_mgt.store import catalog, duties, trail
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.govern import check_cap
from hms_svc import selector, yaml_tree


async def register_tenant(db: Database, name: str, quota: Quota, now: datetime) -> bool:
    """Register a tenant with its quota. Returns False, and changes nothing, when it is known.

    Raises:
        Invalid: the name is none, or the quota is beyond the platform cap.
    """
    _check_id(name, "/tenant")
    async with db.transaction(EVERY_TENANT) as tx:
        if not await catalog.add_tenant(tx, name, now):
            return False
        await check_cap(tx, quota)
        await catalog.put_quota(tx, name, quota)
        act = trail.act_of(OPERATOR, name, "tenant.registered", f"tenant/{name}", after={"quota": quota.bounds()})
        await trail.audit_act(tx, act, now)
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
        Invalid: an id, the version or the conf.yml is not one, the tenant or the orchestrator is unknown.
    """
    _check_id(new.service, "/service")
    _check_orchestrator(new.orchestrator)
    tenant, service, version, conf, orchestrator = new
    one = Deployment(tenant, service, _version(version), conf, _base(conf), orchestrator)
    async with db.transaction(EVERY_TENANT) as tx:
        await _check_tenant(tx, tenant)
        known = await catalog.deployments(tx, tenant, service)
        before = next((_shown(old) for old in known if old.version == version), None)
        await catalog.put_deployment(tx, one, now)
        subject = f"deployment/{tenant}/{service}/{version}"
        fields = {"before": before, "after": _shown(one)}
        await trail.audit_act(tx, trail.act_of(OPERATOR, tenant, "deployment.registered", subject, **fields), now)
        await duties.wake(tx)


def _shown(one: Deployment) -> dict[str, Any]:
    """Show a deployment as the audit tells it: with all of its base, which patches are folded onto."""
    digest = hashlib.sha256(one.conf.encode()).hexdigest()
    return {"conf": one.conf, "conf_sha256": digest, "base": one.base, "orchestrator": one.orchestrator}


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
