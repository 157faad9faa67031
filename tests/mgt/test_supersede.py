"""A patch that replaces others: what stands goes on standing until the new one is in effect."""

import asyncio
from typing import Any

import pytest

from hms_mgt.usecases.register import NewDeployment, register_deployment
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.steps import review, statuses, step

HOUR = {"start": "now", "duration": "1h"}


async def in_force(world: World, fleet: Fleet, **changed: Any) -> int:
    """Submit a patch and bring it to APPLIED."""
    await fleet.report()
    patch_id = await world.submit(**changed)
    await review(world)
    await fleet.report()
    await step(world)
    assert (await world.shown(patch_id))["status"] == "APPLIED"
    return patch_id


def test_the_old_patch_stands_until_the_new_one_is_in_effect(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        new = await world.submit(changes={"rate_limit_rps": 300}, supersedes=old)
        await review(world)
        await fleet.report("a", "b")
        await step(world)
        assert (await world.shown(old))["status"] == "APPLIED"
        await fleet.report("c")
        await step(world)
        assert (await world.shown(new))["status"] == "APPLIED"
        assert (await world.shown(old))["status"] == "REVERTING"
        await fleet.report()
        await step(world)
        shown = await world.shown(old)
        assert (shown["status"], shown["superseded_by"]) == ("SUPERSEDED", new)

    play(scene)


def test_the_old_patch_stands_when_the_new_one_fails(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        new = await world.submit(changes={"rate_limit_rps": 300}, supersedes=[old])
        await review(world)
        await fleet.report("a", failed=[{"patch_id": new, "stage": "check", "detail": "no"}])
        await step(world)
        await step(world)
        await fleet.report()
        await step(world)
        assert (await world.shown(new))["status"] == "ROLLED_BACK"
        assert (await world.shown(old))["status"] == "APPLIED"

    play(scene)


def test_what_nobody_approved_yet_is_withdrawn_at_once(play: Play) -> None:
    async def scene(world: World) -> None:
        old = await world.submit()
        new = await world.submit(supersedes=old)
        assert await statuses(world, old) == ["QUEUED", "CANCELLED"]
        shown = await world.shown(old)
        assert shown["superseded_by"] == new
        assert shown["status_reason"] == f"replaced by patch {new}"

    play(scene)


def test_what_is_only_planned_goes_when_the_new_one_is_approved(play: Play) -> None:
    async def scene(world: World) -> None:
        old = await world.submit(window={"start": "2026-11-24T00:00Z", "duration": "1h"})
        await review(world)
        assert (await world.shown(old))["status"] == "SCHEDULED"
        await world.submit(supersedes=old)
        assert (await world.shown(old))["status"] == "SCHEDULED"
        await review(world)
        assert (await world.shown(old))["status"] == "CANCELLED"

    play(scene)


def test_a_rejected_patch_supersedes_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        world.governance.denials = ["no"]
        await world.submit(supersedes=old)
        await review(world)
        await step(world)
        assert (await world.shown(old))["status"] == "APPLIED"

    play(scene)


@pytest.mark.parametrize("wrong", [0, -1, "1", True, None, [1, 1], [1, "2"], list(range(1, 22)), 2**63, {}, 1.0])
def test_supersedes_is_an_id_or_a_short_list_of_ids(play: Play, wrong: Any) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("POST", "/api/patch", json={**PATCH, "supersedes": wrong})
        assert answer.status_code == 422
        assert [one["pointer"] for one in answer.json()["errors"]] == ["/supersedes"]

    play(scene)


def test_only_a_patch_of_the_same_service_that_stands_can_be_superseded(play: Play) -> None:
    async def scene(world: World) -> None:
        foreign = {**PATCH, "tenant": "VA"}
        theirs = (await world.call("POST", "/api/patch", "release_manager@VA", json=foreign)).json()["patch_id"]
        for unknown in (theirs, 999):
            answer = await world.call("POST", "/api/patch", json={**PATCH, "supersedes": unknown})
            assert answer.status_code == 422, answer.text
            assert answer.json()["errors"][0]["pointer"] == "/supersedes"
        ended = await world.submit()
        await world.call("POST", f"/api/patch/{ended}/cancel")
        answer = await world.call("POST", "/api/patch", json={**PATCH, "supersedes": ended})
        assert answer.status_code == 409
        assert "CANCELLED" in answer.json()["detail"]

    play(scene)


def test_another_window_is_a_new_patch_that_supersedes_the_old_one(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        answer = await world.call("POST", f"/api/patch/{old}/window", json={"window": {"duration": "3h"}})
        assert answer.status_code == 202, answer.text
        new = answer.json()["patch_id"]
        shown = await world.shown(new)
        assert shown["changes"] == {"rate_limit_rps": 200}
        assert shown["window"] == {"start": "2026-11-23T12:00:00Z", "end": "2026-11-23T15:00:00Z"}
        assert shown["supersedes"] == [old]
        await review(world)
        await fleet.report()
        await step(world)
        await fleet.report()
        await step(world)
        assert (await world.shown(old))["status"] == "SUPERSEDED"
        world.clock.forward(hours=2)
        await fleet.report()
        await step(world)
        assert (await world.shown(new))["status"] == "APPLIED"

    play(scene)


def test_a_scheduled_patch_keeps_its_start_when_only_the_end_changes(play: Play) -> None:
    async def scene(world: World) -> None:
        old = await world.submit(window={"start": "2026-11-24T00:00Z", "duration": "1h"})
        await review(world)
        asked = {"window": {"end": "2026-11-24T00:30Z"}}
        new = (await world.call("POST", f"/api/patch/{old}/window", json=asked)).json()["patch_id"]
        assert (await world.shown(new))["window"] == {"start": "2026-11-24T00:00:00Z", "end": "2026-11-24T00:30:00Z"}

    play(scene)


def test_an_ended_patch_gets_no_other_window(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        await world.call("POST", f"/api/patch/{patch_id}/cancel")
        answer = await world.call("POST", f"/api/patch/{patch_id}/window", json={"window": {"duration": "3h"}})
        assert answer.status_code == 409
        path = f"/api/patch/{patch_id}/window"
        theirs = await world.call("POST", path, "release_manager@VA", json={"window": {"duration": "3h"}})
        assert theirs.status_code == 404
        assert (await world.call("POST", path, "viewer@IACB", json={})).status_code == 403

    play(scene)


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({}, "/window"),
        ({"window": {"duration": "0s"}}, "/window/duration"),
        ({"window": 3}, "/window"),
        ({"window": {"end": "2020-01-01T00:00Z"}}, "/window/end"),
        ({"window": {}, "changes": {}}, "/changes"),
        ({"window": {}, "reason": 3}, "/reason"),
    ],
)
def test_a_request_for_another_window_is_checked(play: Play, asked: Any, pointer: str) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        answer = await world.call("POST", f"/api/patch/{patch_id}/window", json=asked)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer

    play(scene)


def test_the_same_key_changes_a_window_once(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        asked: dict[str, Any] = {"json": {"window": {"duration": "3h"}}, "headers": {"Idempotency-Key": "once"}}
        first = await world.call("POST", f"/api/patch/{patch_id}/window", **asked)
        second = await world.call("POST", f"/api/patch/{patch_id}/window", **asked)
        assert first.json() == second.json()
        other = await world.call("POST", f"/api/patch/{first.json()['patch_id']}/window", **asked)
        assert other.status_code == 422
        assert other.json()["code"] == "idempotency_key_reused"

    play(scene)


def test_another_window_for_a_replacement_still_replaces_what_it_was_to_replace(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        oldest = await in_force(world, fleet)
        old = await world.submit(changes={"rate_limit_rps": 300}, supersedes=oldest)
        answer = await world.call("POST", f"/api/patch/{old}/window", json={"window": {"duration": "3h"}})
        assert answer.status_code == 202, answer.text
        new = answer.json()["patch_id"]
        assert (await world.shown(new))["supersedes"] == [old, oldest]
        await review(world)
        await fleet.report()
        await step(world)
        await fleet.report()
        await step(world)
        assert [(await world.shown(one))["status"] for one in (oldest, old, new)] == [
            "SUPERSEDED",
            "CANCELLED",
            "APPLIED",
        ]

    play(scene)


def test_of_a_chain_only_what_still_stands_is_replaced_again(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        oldest = await in_force(world, fleet)
        old = await in_force(world, fleet, changes={"rate_limit_rps": 300}, supersedes=oldest)
        answer = await world.call("POST", f"/api/patch/{old}/window", json={"window": {"duration": "3h"}})
        assert (await world.shown(answer.json()["patch_id"]))["supersedes"] == [old]

    play(scene)


def test_the_same_key_at_once_changes_a_window_once(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        asked: dict[str, Any] = {"json": {"window": {"duration": "3h"}}, "headers": {"Idempotency-Key": "once"}}
        calls = (world.call("POST", f"/api/patch/{patch_id}/window", **asked) for _ in range(8))
        answers = await asyncio.gather(*calls)
        assert {one.status_code for one in answers} == {202}, [one.text for one in answers]
        assert len({one.json()["patch_id"] for one in answers}) == 1

    play(scene)


def test_what_asked_for_less_is_not_superseded_beyond_the_quota(play: Play) -> None:
    async def scene(world: World) -> None:
        new = NewDeployment("IACB", "OTHER_API", "2.1.0", "replicas: 3\n", "local")
        await register_deployment(world.db, new, world.clock.now())
        less = await world.submit(changes={"replicas": 1})
        await review(world)
        await world.submit(service="OTHER_API", changes={"replicas": 11})
        await review(world)
        document = {**PATCH, "supersedes": less}
        answer = await world.call("POST", "/api/patch", json=document)
        assert (answer.status_code, answer.json()["code"]) == (409, "quota_exceeded"), answer.text
        assert answer.json()["errors"][0]["pointer"] == "/supersedes"
        assert answer.json()["excess"]["over"] == "2"
        assert (await world.call("POST", "/api/patch?dry_run=true", json=document)).json()["accepted"] is False

    play(scene)
