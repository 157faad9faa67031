"""`GET /api/effective` through the real database: what was, what is, what is planned, and on whose word."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey

from hms_mgt.domain.access import Role
from hms_mgt.domain.window import rfc3339
from hms_mgt.secret import digest
from hms_mgt.store import history
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.register import NewDeployment, register_deployment
from hms_mgt.usecases.tokens import register_token
from hms_svc import wire
from tests.mgt.conftest import CONF, Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.steps import review, step

SERVICE = "ARTIST_REGISTRY_API"


async def ask(world: World, who: str = "viewer@IACB", **query: Any) -> dict[str, Any]:
    answer = await world.call("GET", "/api/effective", who, params={"service": SERVICE, **query})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def refused(world: World, who: str = "viewer@IACB", **query: Any) -> tuple[int, str, str]:
    answer = await world.call("GET", "/api/effective", who, params={"service": SERVICE, **query})
    problem = answer.json()
    pointer = problem["errors"][0]["pointer"] if problem["errors"] else ""
    return answer.status_code, pointer, problem["detail"]


def key(shown: dict[str, Any], path: str) -> dict[str, Any]:
    return dict(next(one for one in shown["keys"] if one["path"] == path))


async def register(world: World, conf: str, version: str = "2.1.0", tenant: str = "IACB") -> None:
    await register_deployment(world.db, NewDeployment(tenant, SERVICE, version, conf, "local"), world.clock.now())


def ahead(world: World, **by: float) -> str:
    return rfc3339(world.clock.now() + timedelta(**by))


def test_the_past_is_told_as_it_was_the_present_as_it_is_and_the_future_as_planned(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        world.clock.forward(minutes=1)
        first = await world.submit(reason="the market", window={"start": "now", "duration": "10m"})
        window = {"start": ahead(world, minutes=20), "duration": "10m"}
        second = await world.submit(changes={"rate_limit_rps": 300}, priority=5, window=window)
        await review(world)
        await fleet.report()
        await step(world)
        world.clock.forward(minutes=5)

        before = await ask(world, at=ahead(world, minutes=-5, seconds=-1))
        assert (before["tense"], before["revision"], before["patches"]) == ("past", None, [])
        assert before["configuration"] == {"rate_limit_rps": 50, "replicas": 3}
        assert key(before, "rate_limit_rps")["next_change"] is None, "nobody had asked for anything yet"

        now = await ask(world)
        assert (now["tense"], now["revision"], now["patches"]) == ("present", 1, [first])
        assert now["configuration"]["rate_limit_rps"] == 200
        limit = key(now, "rate_limit_rps")
        assert limit["winner"] == f"patch/{first}"
        assert limit["pointer"] == "/rate_limit_rps"
        assert limit["layers"][0] == {"layer": "base", "value": 50}
        layer = limit["layers"][1]
        assert layer | {"window": None, "order": None} == {
            "layer": f"patch/{first}",
            "patch_id": first,
            "value": 200,
            "status_then": "APPLIED",
            "priority": 0,
            "order": None,
            "author": "release_manager@IACB",
            "reason": "the market",
            "window": None,
            "approvals": [],
            "decision": {"decision_id": "d-1", "verdict": "allow", "policy_revision": "sha256:0"},
            "signature": "verified",
            "break_glass": False,
            "freeze_exemption": None,
        }
        ends = {"at": ahead(world, minutes=5), "value": 50, "because": f"patch/{first} ends"}
        assert limit["next_change"] == ends
        assert key(now, "replicas") == {
            "path": "replicas",
            "pointer": "/replicas",
            "value": 3,
            "layers": [{"layer": "base", "value": 3}],
            "winner": "base",
            "next_change": None,
        }

        later = await ask(world, at=ahead(world, minutes=15))
        assert (later["tense"], later["revision"], later["patches"]) == ("future", None, [second])
        assert key(later, "rate_limit_rps")["layers"][1]["status_then"] == "SCHEDULED"
        assert later["configuration"]["rate_limit_rps"] == 300

        world.clock.forward(minutes=30)
        await step(world)
        assert await ask(world, at=now["at"]) == now | {"tense": "past"}, "what was said of then is said of it for good"

    play(scene)


def test_windows_are_half_open_whatever_the_record_says_meanwhile(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(window={"start": "now", "duration": "60s"})
        await review(world)
        world.clock.forward(seconds=120)
        # No worker looked since, but no sidecar's clock waits for one.
        assert (await ask(world, at=ahead(world, seconds=-60.000001)))["patches"] == [patch_id]
        assert (await ask(world, at=ahead(world, seconds=-60)))["patches"] == []
        assert (await ask(world))["patches"] == []

    play(scene)


def test_a_base_is_what_was_registered_then_and_registering_the_same_again_is_no_new_one(play: Play) -> None:
    async def scene(world: World) -> None:
        world.clock.forward(minutes=1)
        await register(world, CONF)
        world.clock.forward(minutes=1)
        await register(world, 'rate_limit_rps: 70\n"a.b": 1\na/b~c: {}\n')
        first, second = await ask(world, at=ahead(world, seconds=-1)), await ask(world)
        assert first["base"]["registered_at"] == ahead(world, minutes=-2)
        assert second["base"]["registered_at"] == ahead(world)
        assert first["configuration"]["rate_limit_rps"] == 50
        assert second["configuration"] == {"rate_limit_rps": 70, "a.b": 1, "a/b~c": {}}
        assert key(second, '"a.b"')["pointer"] == "/a.b"
        assert key(second, "a/b~c")["pointer"] == "/a~1b~0c"
        recorded = world.sql("SELECT after FROM audit WHERE action = 'deployment.registered' ORDER BY id DESC LIMIT 1")
        assert recorded[0][0]["conf_sha256"] == second["base"]["conf_sha256"]
        assert world.sql("SELECT count(*) FROM deployment_base WHERE tenant = 'IACB'") == [(2,)]

        unborn = await ask(world, at=ahead(world, minutes=-3))
        assert (unborn["base"], unborn["configuration"], unborn["keys"]) == (None, {}, [])

    play(scene)


def test_who_approved_what_is_said_of_the_time_asked_about(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.obligations = [{"approvals": 1}]
        patch_id = await world.submit()
        await review(world)
        assert (await ask(world, at=ahead(world, minutes=1)))["patches"] == [], "nobody has approved it"
        world.clock.forward(seconds=10)
        answer = await world.call("POST", f"/api/patch/{patch_id}/approve", "approver@IACB")
        assert answer.status_code < 300, answer.text
        layer = key(await ask(world), "rate_limit_rps")["layers"][1]
        assert layer["approvals"] == [{"approver": "approver@IACB", "role": "approver", "at": ahead(world)}]

    play(scene)


def test_a_freeze_moves_what_is_planned_and_is_forgotten_for_the_time_before_it(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(window={"start": ahead(world, minutes=10), "duration": "1h"})
        await review(world)
        assert key(await ask(world), "rate_limit_rps")["next_change"]["at"] == ahead(world, minutes=10)
        world.clock.forward(minutes=1)
        frozen = {"tenant": "IACB", "start": "now", "duration": "30m", "reason": "the elections"}
        made = await world.call("POST", "/api/freeze", "approver@IACB", json=frozen)
        assert made.status_code < 300, made.text
        now = await ask(world)
        assert key(now, "rate_limit_rps")["next_change"] == {
            "at": ahead(world, minutes=30),
            "value": 200,
            "because": f"patch/{patch_id} starts",
        }
        earlier = await ask(world, at=ahead(world, seconds=-1))
        assert key(earlier, "rate_limit_rps")["next_change"]["at"] == ahead(world, minutes=9)
        world.clock.forward(minutes=10)
        await step(world)
        assert await ask(world, at=now["at"]) == now | {"tense": "past"}
        assert (await ask(world))["patches"] == []
        assert (await ask(world, at=ahead(world, minutes=19, seconds=59)))["patches"] == []
        assert (await ask(world, at=ahead(world, minutes=20)))["patches"] == [patch_id]
        held = await ask(world)
        world.clock.forward(minutes=1)
        lifted = await world.call(
            "POST", f"/api/freeze/{made.json()['freeze_id']}/lift", "approver@IACB", json={"reason": "over"}
        )
        assert lifted.status_code == 200, lifted.text
        due = key(await ask(world), "rate_limit_rps")["next_change"]
        assert due == {"at": None, "value": 200, "because": f"patch/{patch_id} starts"}
        assert await ask(world, at=held["at"]) == held | {"tense": "past"}, "nobody knew that it would be lifted"

    play(scene)


def test_a_planned_replacement_ends_what_it_supersedes(play: Play) -> None:
    async def scene(world: World) -> None:
        first = await world.submit(window={"start": "now", "duration": "1d"})
        await review(world)
        window = {"start": ahead(world, hours=1), "duration": "1h"}
        second = await world.submit(changes={"other": 1}, window=window, supersedes=first)
        await review(world)
        change = key(await ask(world), "rate_limit_rps")["next_change"]
        assert change == {
            "at": ahead(world, hours=1),
            "value": 50,
            "because": f"patch/{first} is superseded by patch/{second}",
        }
        assert (await ask(world, at=ahead(world, hours=3)))["patches"] == []
        to_come = key(await ask(world), "other")
        assert to_come | {"next_change": None} == {
            "path": "other",
            "pointer": "/other",
            "layers": [],
            "winner": None,
            "next_change": None,
        }
        assert to_come["next_change"]["value"] == 1

    play(scene)


def test_what_is_deleted_says_so_and_by_which_path(play: Play) -> None:
    async def scene(world: World) -> None:
        await register(world, "cache: {size: 1, ttl: 2}\nold: 1\n")
        patch_id = await world.submit(changes={"cache": "off", "old": None})
        await review(world)
        shown = await ask(world)
        assert shown["configuration"] == {"cache": "off"}
        below = key(shown, "cache.size")
        assert below["deleted"] is True
        assert "value" not in below
        assert below["layers"][0] == {"layer": "base", "value": 1}
        assert below["layers"][1]["deleted"] is True
        assert below["layers"][1]["through"] == "cache"
        assert below["winner"] == f"patch/{patch_id}"
        assert key(shown, "old")["deleted"] is True
        assert "through" not in key(shown, "old")["layers"][1]

    play(scene)


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("UPDATE patch SET priority = 3", "altered"),
        ("""UPDATE patch SET changes = '{"rate_limit_rps": 999}'""", "altered"),
        ("UPDATE patch SET window_end = window_end + interval '1 day'", "altered"),
        ("UPDATE patch SET decision = NULL", "unsigned"),
        ("UPDATE patch SET decision = jsonb_set(decision, '{signatures}', '[]')", "unsigned"),
    ],
)
def test_a_row_that_is_not_what_gov_signed_is_not_called_verified(play: Play, tampering: str, said: str) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        await review(world)
        assert key(await ask(world), "rate_limit_rps")["layers"][1]["signature"] == "verified"
        with psycopg.connect(world.url) as connection:
            connection.execute(tampering.encode())
        assert key(await ask(world), "rate_limit_rps")["layers"][1]["signature"] == said

    play(scene)


def test_a_key_that_is_trusted_no_more_vouches_for_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        await review(world)
        world.trust = world.trust._replace(gov=wire.Pins((SigningKey.generate().verify_key,)))
        assert key(await ask(world), "rate_limit_rps")["layers"][1]["signature"] == "wrong_signature"

    play(scene)


def test_the_version_is_the_instances_or_the_only_one_or_must_be_said(play: Play) -> None:
    async def scene(world: World) -> None:
        await Fleet(world, ("a", "é b")).report()
        assert (await ask(world))["version"] == "2.1.0"
        await register(world, "rate_limit_rps: 60\n", "2.2.0-rc.1")
        assert (await ask(world, instance="a"))["version"] == "2.1.0"
        assert (await ask(world, instance="é b"))["instance"] == "é b"
        assert (await ask(world, version="2.2.0-rc.1"))["configuration"] == {"rate_limit_rps": 60}
        assert (await ask(world, version="2.2.0-rc.1", instance="a"))["version"] == "2.2.0-rc.1"
        assert await refused(world) == (422, "/query/version", "say which version is meant: 2.1.0, 2.2.0-rc.1")
        assert (await refused(world, version="3.0.0"))[::2] == (
            404,
            f"{SERVICE} 3.0.0 is not registered for tenant IACB; there is 2.1.0, 2.2.0-rc.1",
        )
        assert (await refused(world, instance="nobody"))[0] == 404
        assert (await refused(world, version="2.1.0", instance="nobody"))[0] == 404
        assert (await refused(world, service="NOTHING"))[0] == 404

    play(scene)


def test_nobody_is_told_of_another_tenant(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        await review(world)
        await Fleet(world).report()
        assert (await ask(world, "viewer@VA"))["patches"] == []
        assert await refused(world, "viewer@VA", tenant="IACB") == (404, "", "there is no tenant IACB")
        assert await refused(world, "viewer@VA", tenant="XX") == (404, "", "there is no tenant XX")
        assert (await refused(world, "viewer@VA", instance="a"))[0] == 404
        everywhere = StoredToken("everywhere", Role.VIEWER, None)
        await register_token(world.db, digest("everywhere"), everywhere, world.clock.now())
        assert (await refused(world, "everywhere"))[:2] == (422, "/query/tenant")
        assert (await ask(world, "everywhere", tenant="IACB"))["tenant"] == "IACB"
        assert (await refused(world, "everywhere", tenant="XX"))[0] == 404

    play(scene)


@pytest.mark.parametrize(
    "at",
    ["", "yesterday", "2026-11-23", "2026-11-23T12:00:00", "2026-13-01T00:00Z", "1969-12-31T23:59Z", "now ", "x" * 65],
)
def test_an_instant_that_is_none_is_refused_at_its_place(play: Play, at: str) -> None:
    async def scene(world: World) -> None:
        assert (await refused(world, at=at))[:2] == (422, "/query/at")

    play(scene)


def test_a_plus_sign_that_nobody_escaped_is_still_one(play: Play) -> None:
    async def scene(world: World) -> None:
        answer = await world.call(
            "GET", f"/api/effective?service={SERVICE}&at=2026-11-23T14:00:00+02:00", "viewer@IACB"
        )
        assert answer.json()["at"] == "2026-11-23T12:00:00Z"

    play(scene)


def test_what_others_commit_meanwhile_does_not_tear_an_explanation(play: Play) -> None:
    async def scene(world: World) -> None:
        async with world.db.transaction("IACB", still=True) as tx:
            known = await history.versions(tx, "IACB", SERVICE)
            await register(world, CONF, "2.2.0")
            assert await history.versions(tx, "IACB", SERVICE) == known
        async with world.db.transaction("IACB") as tx:
            assert await history.versions(tx, "IACB", SERVICE) == [*known, "2.2.0"]
            await register(world, CONF, "2.3.0")
            assert len(await history.versions(tx, "IACB", SERVICE)) == 3, "who changes something sees what is now"

    play(scene)
