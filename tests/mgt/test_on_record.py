"""Each change and each denial is one row of the audit, whichever operation it was; what changes nothing is none."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest

from hms_mgt.api.app import create_app
from hms_mgt.domain.access import Role
from hms_mgt.domain.quota import Quota
from hms_mgt.secret import digest
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.register import NewDeployment, register_deployment, register_tenant
from hms_mgt.usecases.tokens import register_token
from tests.mgt.conftest import CONF, PATCH, Play, World
from tests.mgt.people import join
from tests.mgt.steps import review

_TOMORROW = {"start": "2026-11-24T12:00Z", "duration": "1h"}
_FREEZE = {"tenant": "IACB", "start": "2026-11-23T13:00Z", "end": "2026-11-23T14:00Z", "reason": "holidays"}
_ROLLBACK = "/api/stream/IACB/ARTIST_REGISTRY_API/rollback"


class Stage:
    """A world in which everything there is to change can be changed, one thing after the other."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.freeze = 0

    async def patch(self, *, approvals: int = 0, **changed: Any) -> int:
        """Have a patch that is in force, or waits for approvals."""
        self.world.governance.obligations = [{"approvals": approvals}] if approvals else []
        number = await self.world.submit(**changed)
        await review(self.world)
        return number

    async def rows(self) -> list[tuple[str, str, str, str]]:
        return [tuple(row) for row in self.world.sql("SELECT action, subject, actor, role FROM audit ORDER BY id")]


Doing = Callable[[Stage], Awaitable[Any]]


def _calls(method: str, path: str, who: str, **more: Any) -> Doing:
    async def do(stage: Stage) -> int:
        return (await stage.world.call(method, path, who, **more)).status_code

    return do


def _of_patch(verb: str, who: str, *, approvals: int = 0, **more: Any) -> tuple[Doing, Doing]:
    """Something done to a patch that is made first."""
    made: list[int] = []

    async def prepare(stage: Stage) -> None:
        made[:] = [await stage.patch(approvals=approvals, window=_TOMORROW)]

    async def do(stage: Stage) -> int:
        return (await stage.world.call("POST", f"/api/patch/{made[0]}/{verb}", who, **more)).status_code

    return prepare, do


async def _nothing(_: Stage) -> None:
    pass


async def _freeze(stage: Stage) -> None:
    answer = await stage.world.call("POST", "/api/freeze", "approver@IACB", json=_FREEZE)
    stage.freeze = answer.json()["freeze_id"]


async def _lift(stage: Stage) -> int:
    answer = await stage.world.call("POST", f"/api/freeze/{stage.freeze}/lift", "approver@IACB")
    return answer.status_code


async def _in_force(stage: Stage) -> None:
    await stage.patch()


async def _two_in_force(stage: Stage) -> None:
    await stage.patch()
    await stage.patch(changes={"replicas": 4})


_MANAGER, _APPROVER, _ADMIN, _ROOT = "release_manager@IACB", "approver@IACB", "platform_admin@IACB", "root"
# What is done, by whom, and which rows that leaves.
CHANGES: Mapping[str, tuple[Doing, Doing, list[str]]] = {
    "POST /api/patch": (_nothing, _calls("POST", "/api/patch", _MANAGER, json=dict(PATCH)), ["patch.queued"]),
    "POST /api/patch/{patch_id}/window": (
        *_of_patch("window", _MANAGER, json={"window": {"start": "2026-11-24T12:00Z", "duration": "2h"}}),
        ["patch.queued"],
    ),
    "POST /api/patch/{patch_id}/cancel": (*_of_patch("cancel", _MANAGER), ["patch.cancelled"]),
    "POST /api/patch/{patch_id}/rollback": (
        _in_force,
        _calls("POST", "/api/patch/1/rollback", _MANAGER),
        ["patch.reverting"],
    ),
    "POST /api/stream/{tenant}/{service}/rollback": (
        _two_in_force,
        _calls("POST", _ROLLBACK, _MANAGER, json={"revision": 1}),
        ["patch.reverting"],
    ),
    "POST /api/patch/{patch_id}/approve": (
        *_of_patch("approve", _APPROVER, approvals=2),
        ["patch.approved_by"],
    ),
    "POST /api/patch/{patch_id}/reject": (
        *_of_patch("reject", _APPROVER, approvals=1, json={"comment": "no"}),
        ["patch.rejected_by", "patch.rejected"],
    ),
    "PUT /api/tenant/{tenant}/quota": (
        _nothing,
        _calls("PUT", "/api/tenant/IACB/quota", _APPROVER, json={"replicas": 9}),
        ["quota.changed"],
    ),
    "PUT /api/platform/cap": (
        _nothing,
        _calls("PUT", "/api/platform/cap", _ROOT, json={"replicas": 40}),
        ["platform_cap.changed"],
    ),
    "POST /api/freeze": (_nothing, _calls("POST", "/api/freeze", _APPROVER, json=_FREEZE), ["freeze.created"]),
    "POST /api/freeze/{freeze_id}/lift": (_freeze, _lift, ["freeze.lifted"]),
    "POST /api/token/{name}/revoke": (
        _nothing,
        _calls("POST", "/api/token/viewer@IACB/revoke", _ADMIN),
        ["token.revoked"],
    ),
}


async def _operator_makes_a_token(stage: Stage) -> None:
    await register_token(stage.world.db, digest("x"), StoredToken("eve", Role.VIEWER, "VA"), stage.world.clock.now())


async def _operator_adds_a_tenant(stage: Stage) -> None:
    await register_tenant(stage.world.db, "CDC", Quota(), stage.world.clock.now())


async def _operator_adds_a_service(stage: Stage) -> None:
    new = NewDeployment("VA", "OTHER_API", "1.0.0", CONF)
    await register_deployment(stage.world.db, new, stage.world.clock.now())


CHANGES = {
    **CHANGES,
    "hms-mgt token create": (_nothing, _operator_makes_a_token, ["token.created"]),
    "hms-mgt tenant add": (_nothing, _operator_adds_a_tenant, ["tenant.registered"]),
    "hms-mgt service add": (_nothing, _operator_adds_a_service, ["deployment.registered"]),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_on_record_once(play: Play, what: str) -> None:
    prepare, do, actions = CHANGES[what]

    async def scene(world: World) -> None:
        await join(world, "platform_admin", _ROOT, tenant=None)
        stage = Stage(world)
        await prepare(stage)
        before = await stage.rows()
        status = await do(stage)
        assert status is None or status < 300
        found = (await stage.rows())[len(before) :]
        assert [row[0] for row in found] == actions

    play(scene)


def test_every_operation_that_writes_is_among_these() -> None:
    document = create_app(None).openapi()  # type: ignore[arg-type]
    writing = {
        f"{method.upper()} {path}" for path, told in document["paths"].items() for method in told if method != "get"
    }
    assert writing - CHANGES.keys() == set()


# Who is refused what, and with which code: no role, not the tenant, not there, and what stands in the way.
DENIALS: Mapping[str, tuple[Doing, Doing, str]] = {
    **{
        f"{method} {path}, not for {who}": (_nothing, _calls(method, path, who, json={}), "forbidden")
        for method, path, who in (
            ("POST", "/api/patch", "viewer@IACB"),
            ("POST", "/api/patch?dry_run=true", "platform_admin@IACB"),
            ("POST", "/api/patch/1/window", "approver@IACB"),
            ("POST", "/api/patch/1/cancel", "viewer@IACB"),
            ("POST", "/api/patch/1/rollback", "auditor@IACB"),
            ("POST", "/api/patch/1/approve", "platform_admin@IACB"),
            ("POST", "/api/patch/1/reject", "viewer@IACB"),
            ("POST", _ROLLBACK, "approver@IACB"),
            ("PUT", "/api/tenant/IACB/quota", _MANAGER),
            ("PUT", "/api/tenant/IACB/quota", "approver@VA"),
            ("PUT", "/api/platform/cap", _ADMIN),
            ("POST", "/api/freeze", _MANAGER),
            ("POST", "/api/freeze/1/lift", _MANAGER),
            ("POST", "/api/token/viewer@IACB/revoke", _APPROVER),
            ("GET", "/api/audit", _MANAGER),
            ("GET", "/api/token", _APPROVER),
        )
    },
    **{
        f"{method} {path}, not there for {who}": (_nothing, _calls(method, path, who, **more), "not_found")
        for method, path, who, more in (
            ("POST", "/api/patch/99/window", _MANAGER, {"json": {"window": _TOMORROW}}),
            ("POST", "/api/patch/99/cancel", _MANAGER, {}),
            ("POST", "/api/patch/99/rollback", _MANAGER, {}),
            ("POST", "/api/patch/99/approve", _APPROVER, {}),
            ("POST", "/api/patch/99/reject", _APPROVER, {"json": {"comment": "no"}}),
            ("POST", "/api/stream/VA/ARTIST_REGISTRY_API/rollback", _MANAGER, {"json": {"revision": 1}}),
            ("POST", "/api/freeze/99/lift", _APPROVER, {}),
            ("POST", "/api/token/viewer@VA/revoke", _ADMIN, {}),
        )
    },
    "another tenant's patch": (
        _nothing,
        _calls("POST", "/api/patch", _MANAGER, json={**PATCH, "tenant": "VA"}),
        "forbidden",
    ),
    "the author's own approval": (*_of_patch("approve", _MANAGER, approvals=1), "forbidden"),
    "a knob that is taken": (_in_force, _calls("POST", "/api/patch", _MANAGER, json=dict(PATCH)), "patch_conflict"),
    "more than the quota": (
        _nothing,
        _calls("POST", "/api/patch", _MANAGER, json={**PATCH, "changes": {"replicas": 13}}),
        "quota_exceeded",
    ),
    "a freeze": (
        _freeze,
        _calls("POST", "/api/patch", _MANAGER, json={**PATCH, "window": {**_TOMORROW, "start": "2026-11-23T13:30Z"}}),
        "frozen",
    ),
    "a window that a freeze lies in": (
        *_of_patch("window", _MANAGER, json={"window": {"start": "2026-11-23T13:30Z", "duration": "1h"}}),
        "frozen",
    ),
}


@pytest.mark.parametrize("what", DENIALS)
def test_a_denial_is_on_record_once_with_its_code_and_its_reason(play: Play, what: str) -> None:
    prepare, do, code = DENIALS[what]

    async def scene(world: World) -> None:
        stage = Stage(world)
        await prepare(stage)
        if code == "frozen":
            await _freeze(stage)
        before = len(await stage.rows())
        assert await do(stage) in {403, 404, 409}
        found = world.sql("SELECT action, tenant, role, detail FROM audit ORDER BY id")[before:]
        assert [row[0] for row in found] == ["denied"]
        ((_, tenant, role, detail),) = found
        assert tenant in {"IACB", "VA"}
        assert role is not None
        assert detail["code"] == code
        assert detail["reason"]

    play(scene)


# What changes nothing and is refused to nobody.
NEITHER: Mapping[str, tuple[Doing, Doing]] = {
    "a body that breaks a rule": (_nothing, _calls("POST", "/api/patch", _MANAGER, json={"service": "X"})),
    "a thing that is not there, read": (_nothing, _calls("GET", "/api/patch/99", _MANAGER)),
    "a dry run in somebody's way": (_in_force, _calls("POST", "/api/patch?dry_run=true", _MANAGER, json=dict(PATCH))),
    "a quota as it is": (_nothing, _calls("PUT", "/api/tenant/IACB/quota", _APPROVER, json={"replicas": 12})),
    "a quota that changed meanwhile": (
        _nothing,
        _calls("PUT", "/api/tenant/IACB/quota", _APPROVER, json={}, headers={"If-Match": '"other"'}),
    ),
    "nobody's token": (_nothing, _calls("POST", "/api/patch", "hms_nobody", json=dict(PATCH))),
    "nobody's JWT": (_nothing, _calls("POST", "/api/patch", "a.b.c", json=dict(PATCH))),
    "a path that is not there": (_nothing, _calls("POST", "/api/nothing", _MANAGER)),
    "a method that is not there": (_nothing, _calls("DELETE", "/api/patch/1", _MANAGER)),
}


@pytest.mark.parametrize("what", NEITHER)
def test_what_is_neither_leaves_nothing(play: Play, what: str) -> None:
    prepare, do = NEITHER[what]

    async def scene(world: World) -> None:
        stage = Stage(world)
        await prepare(stage)
        before = await stage.rows()
        await do(stage)
        assert await stage.rows() == before

    play(scene)
