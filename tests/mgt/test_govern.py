"""Setting a tenant's quota and the platform cap: who may, what is refused, and what is on record afterwards."""

import asyncio
from typing import Any

import httpx
import pytest
from sqlalchemy.exc import ProgrammingError

from hms_mgt.domain.access import Actor, Role
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Forbidden
from hms_mgt.secret import digest
from hms_mgt.store import catalog
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.govern import Change, set_cap, set_quota
from hms_mgt.usecases.register import NewDeployment, register_deployment
from hms_mgt.usecases.tokens import register_token
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.steps import NOW, review

QUOTA = "/api/tenant/IACB/quota"
CAP = "/api/platform/cap"
BOUNDS: dict[str, Any] = {"replicas": 10, "cpu": "16", "memory": "64Gi", "knobs": {"rate_limit_rps": 500}}
NONE: dict[str, Any] = {"replicas": None, "cpu": None, "memory": None, "knobs": {}}


async def put(world: World, body: Any, who: str = "approver@IACB", path: str = QUOTA, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await world.call("PUT", path, who, json=body, headers=named)


async def admin(world: World) -> str:
    """Make a token of the platform's own administrator, of no tenant."""
    await register_token(world.db, digest("admin"), StoredToken("admin", Role.PLATFORM_ADMIN, None), world.clock.now())
    return "admin"


def acts(world: World, action: str) -> list[Any]:
    columns = "tenant, actor, role, subject, before, after, request_id"
    return world.sql(f"SELECT {columns} FROM audit WHERE action = %s ORDER BY id", action)  # noqa: S608


def test_a_quota_is_set_whole_and_seen_with_what_is_used(play: Play) -> None:
    async def scene(world: World) -> None:
        set_ = await put(world, BOUNDS)
        assert set_.status_code == 200, set_.text
        expected = {"tenant": "IACB", **BOUNDS, "platform": NONE, "usage": {"replicas": 3, "cpu": "0", "memory": "0"}}
        assert set_.json() == expected
        for role in Role:
            seen = await world.call("GET", QUOTA, f"{role}@IACB")
            assert (seen.status_code, seen.json()) == (200, expected)
            assert seen.headers["etag"] == set_.headers["etag"]
        # What is left out is no bound.
        replaced = await put(world, {"memory": "1Ti", "cpu": None})
        assert {name: replaced.json()[name] for name in NONE} == {**NONE, "memory": "1Ti"}
        assert replaced.headers["etag"] != set_.headers["etag"]

    play(scene)


def test_usage_is_what_holds_at_this_moment(play: Play) -> None:
    async def scene(world: World) -> None:
        base = "replicas: 2\ncpu: 500m\nmemory: 1Gi\n"
        await register_deployment(world.db, NewDeployment("IACB", "SEARCH", "1.0.0", base, "local"), NOW)
        await world.submit(changes={"replicas": 6}, window={"start": "now", "duration": "1h"})
        usage = (await world.call("GET", QUOTA)).json()["usage"]
        assert usage == {"replicas": 5, "cpu": "1", "memory": "2Gi"}, "not in force yet"
        await review(world)
        # Below what is used: it stays, and shows.
        lowered = (await put(world, {"replicas": 4})).json()
        assert (lowered["replicas"], lowered["usage"]["replicas"]) == (4, 8)
        world.clock.forward(hours=1)
        assert (await world.call("GET", QUOTA)).json()["usage"]["replicas"] == 5

    play(scene)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RELEASE_MANAGER, Role.AUDITOR])
def test_other_roles_may_not_set_a_quota_and_the_body_is_not_even_read(play: Play, role: Role) -> None:
    async def scene(world: World) -> None:
        refused = await put(world, {"nonsense": 1}, f"{role}@IACB")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert world.sql("SELECT replicas FROM quota WHERE tenant = 'IACB'") == [(12,)]

    play(scene)


def test_a_foreign_tenant_is_not_seen_and_not_set(play: Play) -> None:
    async def scene(world: World) -> None:
        for name in ("IACB", "NOBODY"):
            path = f"/api/tenant/{name}/quota"
            assert (await world.call("GET", path, "approver@VA")).status_code == 404
            assert (await put(world, BOUNDS, "approver@VA", path)).status_code == 403
            assert (await put(world, BOUNDS, "platform_admin@VA", path)).status_code == 403
        who = await admin(world)
        assert (await put(world, BOUNDS, who)).status_code == 200
        for method in ("GET", "PUT"):
            unknown = await world.call(method, "/api/tenant/NOBODY/quota", who, json=BOUNDS)
            assert (unknown.status_code, unknown.json()["detail"]) == (404, "unknown tenant NOBODY")

    play(scene)


def test_the_use_cases_ask_for_role_and_tenant_themselves(play: Play) -> None:
    async def scene(world: World) -> None:
        change = Change(Quota(replicas=1))
        for actor in (Actor("x", Role.RELEASE_MANAGER, "IACB"), Actor("x", Role.APPROVER, "VA")):
            with pytest.raises(Forbidden):
                await set_quota(world.db, actor, "IACB", change, NOW)
        for actor in (Actor("x", Role.APPROVER, None), Actor("x", Role.PLATFORM_ADMIN, "IACB")):
            with pytest.raises(Forbidden):
                await set_cap(world.db, actor, change, NOW)

    play(scene)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ([], ""),
        ({"replica": 3}, "/replica"),
        ({"replicas": -1}, "/replicas"),
        ({"replicas": 2**31}, "/replicas"),
        ({"replicas": 1.5}, "/replicas"),
        ({"replicas": True}, "/replicas"),
        ({"replicas": "9"}, "/replicas"),
        ({"cpu": 16}, "/cpu"),
        ({"cpu": "-1"}, "/cpu"),
        ({"memory": "64GB"}, "/memory"),
        ({"knobs": [1]}, "/knobs"),
        ({"knobs": {"a": -0.5}}, "/knobs/a"),
        ({"knobs": {"a": "5"}}, "/knobs/a"),
        ({"knobs": {"a": None}}, "/knobs/a"),
        ({"knobs": {"a": 1e300}}, "/knobs/a"),
        ({"knobs": {"a": True}}, "/knobs/a"),
        ({"knobs": {"a..b": 1}}, "/knobs/a..b"),
        ({"knobs": {"": 1}}, "/knobs/"),
        ({"knobs": {'"plain"': 1}}, '/knobs/"plain"'),
        ({"knobs": {f"k{number}": 1 for number in range(201)}}, "/knobs"),
        ({"knobs": {"a" * 600: 1}}, "/knobs/" + "a" * 128),
    ],
)
def test_what_is_no_quota_is_refused_with_a_pointer(play: Play, body: Any, where: str) -> None:
    async def scene(world: World) -> None:
        who = await admin(world)
        for path in (QUOTA, CAP):
            refused = await put(world, body, who, path)
            assert (refused.status_code, [one["pointer"] for one in refused.json()["errors"]]) == (422, [where])

    play(scene)


def test_every_fault_of_a_quota_is_named_at_once_and_yaml_is_read_too(play: Play) -> None:
    async def scene(world: World) -> None:
        refused = await put(world, {"replicas": -1, "cpu": "much", "x": 1, "knobs": {"a": -1}})
        assert [one["pointer"] for one in refused.json()["errors"]] == ["/x", "/replicas", "/cpu", "/knobs/a"]
        text = "replicas: 7\nknobs:\n  limits.rps: 5.5\n  'labels.\"app.io\"': 2\n"
        headers = {"Content-Type": "application/yaml"}
        done = await world.call("PUT", QUOTA, "approver@IACB", content=text, headers=headers)
        assert done.status_code == 200, done.text
        assert done.json()["knobs"] == {"limits.rps": 5.5, 'labels."app.io"': 2}

    play(scene)


def test_no_quota_goes_beyond_the_platform_cap_and_the_lower_one_counts(play: Play) -> None:
    async def scene(world: World) -> None:
        who = await admin(world)
        cap = {"replicas": 10, "cpu": "8", "memory": None, "knobs": {"rate_limit_rps": 400}}
        assert (await put(world, cap, who, CAP)).json() == cap
        refused = await put(world, BOUNDS)
        assert refused.status_code == 422
        assert refused.json()["errors"] == [
            {"pointer": "/cpu", "detail": "Exceeds the platform cap: at most 8"},
            {"pointer": "/knobs/rate_limit_rps", "detail": "Exceeds the platform cap: at most 400"},
        ]
        # The tenant's 12 replicas of before stay, but ten is what counts.
        seen = (await world.call("GET", QUOTA)).json()
        assert (seen["replicas"], seen["platform"]) == (12, cap)
        over = await world.call("POST", "/api/patch", json={**PATCH, "changes": {"replicas": 11}})
        assert (over.status_code, over.json()["code"]) == (409, "quota_exceeded")
        assert "11 at 2026-11-23T12:00:00Z, 1 over the platform cap of 10 for tenant IACB" in over.json()["detail"]
        over = await world.call("POST", "/api/patch", json={**PATCH, "changes": {"rate_limit_rps": 401}})
        assert (over.status_code, over.json()["errors"][0]["pointer"]) == (422, "/changes/rate_limit_rps")

    play(scene)


def test_a_patch_that_waits_is_held_to_the_quota_of_the_day_it_is_approved(play: Play) -> None:
    async def scene(world: World) -> None:
        more = await world.submit(changes={"replicas": 9})
        faster = await world.submit()
        await put(world, {"replicas": 8, "knobs": {"rate_limit_rps": 100}})
        await review(world)
        shown = [await world.shown(number) for number in (more, faster)]
        assert [one["status"] for one in shown] == ["REJECTED", "REJECTED"]
        assert "1 over the quota of 8" in shown[0]["status_reason"]
        assert "Exceeds the tenant's cap" in shown[1]["status_reason"]

    play(scene)


def test_only_who_is_bound_to_no_tenant_sets_the_platform_cap_and_everybody_sees_it(play: Play) -> None:
    async def scene(world: World) -> None:
        for role in Role:
            refused = await put(world, {"nonsense": 1}, f"{role}@IACB", CAP)
            assert refused.status_code == 403
            seen = await world.call("GET", CAP, f"{role}@IACB")
            assert (seen.status_code, seen.json()) == (200, NONE)
        assert (await world.client.get(CAP)).status_code == 401
        done = await put(world, BOUNDS, await admin(world), CAP)
        assert (done.status_code, done.json()) == (200, BOUNDS)
        assert (await world.call("GET", CAP)).headers["etag"] == done.headers["etag"]

    play(scene)


@pytest.mark.parametrize("path", [QUOTA, CAP])
def test_if_match_lets_only_the_state_that_was_seen_be_replaced(play: Play, path: str) -> None:
    async def scene(world: World) -> None:
        who = await admin(world)
        seen = (await world.call("GET", path, who)).headers["etag"]
        assert (await put(world, BOUNDS, who, path, If_Match=f'"other", {seen}')).status_code == 200
        for stale in (seen, '"other"', f"W/{seen}", "nonsense", '""'):
            refused = await put(world, {"replicas": 1}, who, path, If_Match=stale)
            assert (refused.status_code, refused.json()["code"]) == (412, "precondition_failed")
            present = (await world.call("GET", path, who)).headers["etag"]
            assert refused.headers["etag"] == refused.json()["etag"] == present
        assert (await put(world, {"replicas": 1}, who, path, If_Match="*")).status_code == 200

    play(scene)


@pytest.mark.parametrize("path", [QUOTA, CAP])
def test_of_two_who_replace_the_same_state_one_wins(play: Play, path: str) -> None:
    async def scene(world: World) -> None:
        who = await admin(world)
        seen = (await world.call("GET", path, who)).headers["etag"]
        asked = [put(world, {"replicas": number}, who, path, If_Match=seen) for number in range(1, 9)]
        answers = await asyncio.gather(*asked)
        assert sorted(one.status_code for one in answers) == [200, *[412] * 7]
        [winner] = [one.json() for one in answers if one.status_code == 200]
        assert (await world.call("GET", path, who)).json()["replicas"] == winner["replicas"]

    play(scene)


def test_who_changed_what_is_on_record_and_the_same_again_is_no_change(play: Play) -> None:
    async def scene(world: World) -> None:
        who = await admin(world)
        for _ in range(2):
            await put(world, BOUNDS, X_Request_Id="quota-1234")
            await put(world, {"replicas": 50}, who, CAP, X_Request_Id="cap-12345")
        before = {**NONE, "replicas": 12}
        assert acts(world, "quota.changed") == [
            ("IACB", "approver@IACB", "approver", "tenant/IACB", before, BOUNDS, "quota-1234")
        ]
        after = {**NONE, "replicas": 50}
        assert acts(world, "platform_cap.changed") == [
            (None, "admin", "platform_admin", "platform/cap", NONE, after, "cap-12345")
        ]

    play(scene)


def test_a_transaction_of_one_tenant_does_not_set_what_binds_all(play: Play) -> None:
    async def scene(world: World) -> None:
        for cap in (Quota(replicas=5), Quota(replicas=1)):
            with pytest.raises(ProgrammingError, match="row-level security"):
                async with world.db.transaction("IACB") as tx:
                    await catalog.put_platform_cap(tx, cap)
            async with world.db.transaction(EVERY_TENANT) as tx:
                await catalog.put_platform_cap(tx, Quota(replicas=9))
        assert world.sql("SELECT replicas FROM platform_cap") == [(9,)]

    play(scene)
