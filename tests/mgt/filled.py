"""Two tenants with some of everything: IACB with a thing for each operation to succeed on, VA with a canary in each."""

import base64
from collections.abc import Mapping
from typing import Any

from hms_mgt.domain.access import Role
from hms_mgt.domain.rollout import Instance
from hms_mgt.secret import digest
from hms_mgt.store import instances
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.store.instances import Receipt
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.register import NewDeployment, register_deployment
from hms_mgt.usecases.tokens import register_token
from tests.mgt import steps
from tests.mgt.conftest import PATCH, World

SERVICE = "ARTIST_REGISTRY_API"
UNBOUND = "platform_admin@all"
ANYBODY: Mapping[str, Any] = {"approvals": 1, "roles": ["approver", "release_manager"]}


async def token(world: World, name: str, role: Role, tenant: str | None) -> None:
    await register_token(world.db, digest(name), StoredToken(name, role, tenant), world.clock.now())


async def submit(world: World, who: str, **changed: Any) -> int:
    headers = {"Idempotency-Key": "CANARY-key", "X-Request-Id": "CANARY-request"} if "CANARY" in who else {}
    if changed.pop("keyless", False):
        headers.pop("Idempotency-Key")
    answer = await world.call("POST", "/api/patch", who, json={**PATCH, **changed}, headers=headers)
    assert answer.status_code == 202, answer.text
    return int(answer.json()["patch_id"])


async def freeze(world: World, tenant: str, reason: str) -> int:
    window = {"start": "2027-12-18T18:00Z", "end": "2028-01-04T06:00Z"}
    asked = {"tenant": tenant, **window, "reason": reason}
    answer = await world.call("POST", "/api/freeze", f"approver@{tenant}", json=asked)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["freeze_id"])


async def pod(world: World, tenant: str, name: str, patch_id: int) -> None:
    now = world.clock.now()
    failed = ({"patch_id": patch_id, "stage": "reload", "detail": f"{name}-words"},)
    one = Instance(
        id=name,
        tenant=tenant,
        service=SERVICE,
        version="2.1.0",
        url=f"http://{name}",
        revision=1,
        active=(patch_id,),
        digest_ok=True,
        failed=failed,
        refused={name: 1},
        phase="failed",
        trouble=f"{name}-trouble",
        drift=(f"{name}-drift",),
        stale=False,
        last_seen=now,
        gone_at=None,
    )
    async with world.db.transaction(EVERY_TENANT) as tx:
        await instances.save(tx, one)
        await instances.add_receipts(tx, tenant, [Receipt(patch_id, name, "effective", now, f"{name}-words")])


async def fill_va(world: World) -> tuple[Mapping[str, list[Any]], list[str]]:
    who = "CANARY-author"
    await token(world, who, Role.RELEASE_MANAGER, "VA")
    await token(world, "CANARY-token", Role.VIEWER, "VA")
    new = NewDeployment("VA", "CANARY-API", "2.1.0", "CANARY-base: 1\n", "local")
    await register_deployment(world.db, new, world.clock.now())
    bounds = {"replicas": 77, "knobs": {"CANARY-bound": 5}}
    quota = await world.call("PUT", "/api/tenant/VA/quota", "approver@VA", json=bounds)
    assert quota.status_code == 200, quota.text
    mine: dict[str, Any] = {"tenant": "VA", "reason": "CANARY-reason"}
    in_force = await submit(world, who, **mine, changes={"CANARY-knob": "CANARY-value"})
    await steps.review(world)
    world.governance.obligations = [{"approvals": 2}]
    waiting = await submit(world, who, **mine, changes={"CANARY-other": "CANARY-value"}, keyless=True)
    await steps.review(world)
    word = await world.call("POST", f"/api/patch/{waiting}/approve", "approver@VA", json={"comment": "CANARY-comment"})
    assert word.status_code == 200, word.text
    queued = await submit(world, who, **mine, changes={"CANARY-third": 1}, service="CANARY-API", keyless=True)
    freeze_id = await freeze(world, "VA", "CANARY-holidays")
    await pod(world, "VA", "CANARY-pod", in_force)
    await world.call("POST", "/api/patch", "viewer@VA", json={})
    snapshot = await world.call("GET", f"/api/stream/VA/{SERVICE}/snapshot", "viewer@VA")
    page = base64.urlsafe_b64encode(b"770000009").decode().rstrip("=")
    foreign: Mapping[str, list[Any]] = {
        "tenant": ["VA", "*"],
        "service": ["CANARY-API"],
        "patch_id": [in_force, waiting, queued],
        "supersedes": [in_force, [waiting, queued]],
        "freeze_id": [freeze_id],
        "name": ["CANARY-token", "viewer@VA"],
        "instance": ["CANARY-pod"],
        "actor": ["CANARY-author"],
        "subject": [f"patch/{in_force}", "*", "token/*"],
        "request_id": ["CANARY-request"],
        "cursor": [page, "CANARY"],
        "last_event_id": ["0-0"],
        "last-event-id": ["0-0"],
        "idempotency-key": ["CANARY-key"],
        "if-match": [quota.headers["etag"]],
    }
    return foreign, [snapshot.json()["payload"]]


async def fill_iacb(world: World) -> Mapping[str, Any]:
    await token(world, "author@IACB", Role.RELEASE_MANAGER, "IACB")
    await token(world, "spare@IACB", Role.VIEWER, "IACB")
    await token(world, UNBOUND, Role.PLATFORM_ADMIN, None)
    world.governance.obligations = []
    in_force = await submit(world, "author@IACB", changes={"a": 1})
    to_roll_back = await submit(world, "author@IACB", changes={"b": 1})
    await steps.review(world)
    world.governance.obligations = [ANYBODY]
    to_approve = await submit(world, "author@IACB", changes={"c": 1})
    to_reject = await submit(world, "author@IACB", changes={"d": 1})
    await steps.review(world)
    to_cancel = await submit(world, "author@IACB", changes={"e": 1})
    await pod(world, "IACB", "own-pod", to_approve)
    return {
        "tenant": "IACB",
        "service": SERVICE,
        "patch_id": to_cancel,
        "freeze_id": await freeze(world, "IACB", "holidays"),
        "name": "spare@IACB",
        "patch in force": in_force,
        "patch to roll back": to_roll_back,
        "patch to approve": to_approve,
        "patch to reject": to_reject,
        "patch to cancel": to_cancel,
    }
