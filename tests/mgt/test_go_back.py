"""A stream goes back to an earlier revision, as a new one."""

import asyncio
from typing import Any

from hms_mgt.store import catalog, patches
from tests.mgt.conftest import Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.steps import review, scaled_to, step
from tests.mgt.test_supersede import in_force

STREAM = "/api/stream/IACB/ARTIST_REGISTRY_API"


async def revisions(world: World) -> list[Any]:
    """Return (revision, patches), oldest first."""
    items = (await world.call("GET", f"{STREAM}/revision")).json()["items"]
    return [(one["revision"], one["patches"]) for one in reversed(items)]


def test_what_came_since_leaves_in_one_revision(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        first = await in_force(world, fleet)
        second = await in_force(world, fleet, changes={"a": 1})
        third = await in_force(world, fleet, changes={"b": 1})
        answer = await world.call("POST", f"{STREAM}/rollback", json={"revision": 1, "reason": "as it was"})
        assert answer.status_code == 202, answer.text
        assert answer.json() == {"revision": 4, "ended": [third, second], "resubmitted": [], "lost": []}
        assert await revisions(world) == [
            (1, [first]),
            (2, [first, second]),
            (3, [first, second, third]),
            (4, [first]),
        ]
        await fleet.report()
        await step(world)
        assert (await world.shown(second))["status"] == "ROLLED_BACK"
        assert (await world.shown(third))["status_reason"] == "back to revision 1: as it was"

    play(scene)


def test_what_has_left_is_submitted_anew_for_the_rest_of_its_window(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        new = await in_force(world, fleet, changes={"rate_limit_rps": 300}, supersedes=old)
        await fleet.report()
        await step(world)
        world.clock.forward(minutes=10)
        await fleet.report()
        # A freeze does not hold what goes back to what was.
        freeze = {"tenant": "IACB", "start": "now", "duration": "1d", "reason": "holidays"}
        made = await world.call("POST", "/api/freeze", "approver@IACB", json=freeze)
        assert made.status_code == 201, made.text
        done = (await world.call("POST", f"{STREAM}/rollback", json={"revision": 1})).json()
        [back] = done["resubmitted"]
        assert done["ended"] == [new]
        assert back["was"] == old
        await review(world)
        await fleet.report()
        await step(world)
        shown = await world.shown(back["patch_id"])
        assert shown["status"] == "APPLIED"
        assert shown["changes"] == {"rate_limit_rps": 200}
        assert shown["window"]["end"] == (await world.shown(old))["window"]["end"]

    play(scene)


def test_what_is_over_is_lost_and_said(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        world.clock.forward(hours=2)
        await step(world)
        await fleet.report()
        await step(world)
        done = (await world.call("POST", f"{STREAM}/rollback", json={"revision": 1})).json()
        assert done["revision"] is None
        assert done["lost"] == [{"patch_id": old, "reason": "its window ended at 2026-11-23T13:00:00Z"}]

    play(scene)


def test_only_a_release_manager_of_the_tenant_takes_a_stream_back(play: Play) -> None:
    async def scene(world: World) -> None:
        await in_force(world, Fleet(world))
        for who, status in (
            ("viewer@IACB", 403),
            ("platform_admin@IACB", 403),
            ("release_manager@VA", 404),
            ("release_manager@IACB", 202),
        ):
            answer = await world.call("POST", f"{STREAM}/rollback", who, json={"revision": 1})
            assert answer.status_code == status, (who, answer.text)
        assert (await world.call("POST", f"{STREAM}/rollback", json={"revision": 77})).status_code == 404
        wrong = await world.call("POST", f"{STREAM}/rollback", json={"revision": 0})
        assert wrong.json()["errors"][0]["pointer"] == "/revision"
        assert (await world.call("GET", f"{STREAM}/revision", "viewer@VA")).status_code == 404

    play(scene)


def test_a_stream_that_goes_back_takes_its_locks_in_the_order_of_everybody(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        knob = await in_force(world, fleet)
        await scaled_to(world, 3)
        replicas = await in_force(world, fleet, changes={"replicas": 3, "a": 1})
        for gone in (knob, replicas):
            await world.call("POST", f"/api/patch/{gone}/rollback")
        async with world.db.transaction("IACB") as tx:
            await catalog.get_quota(tx, "IACB")
            going = asyncio.create_task(world.call("POST", f"{STREAM}/rollback", json={"revision": 2}))
            while not world.sql("SELECT 1 FROM pg_locks WHERE NOT granted"):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
            # Who holds the quota goes on to the service: nobody may wait there for the quota.
            await asyncio.wait_for(patches.lock_service(tx, "IACB", "ARTIST_REGISTRY_API"), 2)
        assert [one["was"] for one in (await going).json()["resubmitted"]] == [knob, replicas]

    play(scene)


def test_what_was_about_to_be_superseded_then_comes_back_as_what_superseded_it(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        new = await in_force(world, fleet, changes={"rate_limit_rps": 300}, supersedes=old)
        await world.call("POST", f"/api/patch/{new}/rollback")
        assert (await revisions(world))[1] == (2, [old, new])
        done = (await world.call("POST", f"{STREAM}/rollback", json={"revision": 2})).json()
        assert ([one["was"] for one in done["resubmitted"]], done["lost"]) == ([new], [])

    play(scene)


def test_what_failed_to_supersede_is_to_supersede_again(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        new = await world.submit(changes={"rate_limit_rps": 300}, supersedes=old)
        await review(world)
        await world.call("POST", f"/api/patch/{new}/rollback")
        done = (await world.call("POST", f"{STREAM}/rollback", json={"revision": 2})).json()
        [back] = done["resubmitted"]
        assert (back["was"], (await world.shown(back["patch_id"]))["supersedes"]) == (new, [old])

    play(scene)


def test_a_stream_goes_back_once_however_many_ask(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        new = await in_force(world, fleet, changes={"rate_limit_rps": 300}, supersedes=old)
        calls = (world.call("POST", f"{STREAM}/rollback", json={"revision": 1}) for _ in range(4))
        done = [answer.json() for answer in await asyncio.gather(*calls)]
        assert sorted(one["ended"] for one in done) == [[], [], [], [new]]
        assert sorted(len(one["resubmitted"]) for one in done) == [0, 0, 0, 1]
        assert all("patch" in lost["reason"] for one in done for lost in one["lost"])

    play(scene)
