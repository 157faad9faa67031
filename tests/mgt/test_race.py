"""Promise 19: limits hold under concurrency, with two replicas of the API side by side."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx

from hms_mgt.usecases.register import NewDeployment, register_deployment
from tests.mgt.conftest import PATCH, Play, World

CALLS = 50


@asynccontextmanager
async def replicas(world: World) -> AsyncIterator[list[World]]:
    """Two replicas of the API on one database."""
    other = World(world.url, world.mgt_key)
    try:
        yield [world, other]
    finally:
        await other.close()


async def race(world: World, body: Callable[[int], dict[str, Any]]) -> list[httpx.Response]:
    """Post many patches at once, every other one to the other replica."""
    async with replicas(world) as both:
        calls = (both[number % 2].call("POST", "/api/patch", json=body(number)) for number in range(CALLS))
        return await asyncio.gather(*calls)


def test_of_many_patches_for_one_knob_exactly_one_is_taken_in(play: Play) -> None:
    async def scene(world: World) -> None:
        answers = await race(world, lambda number: {**PATCH, "changes": {"rate_limit_rps": 100 + number}})
        assert Counter(one.status_code for one in answers) == {202: 1, 409: CALLS - 1}
        [winner] = [one.json()["patch_id"] for one in answers if one.status_code == 202]
        for one in answers:
            if one.status_code == 409:
                problem = one.json()
                assert problem["code"] == "patch_conflict"
                [conflict] = problem["conflicts"]
                assert conflict["patch_id"] == winner
                assert conflict["knobs"] == ["rate_limit_rps"]
                assert problem["next_free"] == {"start": "2026-11-23T13:00:00Z", "end": "2026-11-23T14:00:00Z"}
        assert world.sql("SELECT count(*) FROM patch") == [(1,)]

    play(scene)


def test_of_many_patches_for_the_last_replica_exactly_one_is_taken_in(play: Play) -> None:
    async def scene(world: World) -> None:
        for number in range(CALLS):
            new = NewDeployment("IACB", f"SERVICE-{number}", "2.1.0", "replicas: 1\n", "local")
            await register_deployment(world.db, new, world.clock.now())
        # 3 and 50 are in use by the bases; each patch wants one more for a service of its own, and one is left.
        world.sql("UPDATE quota SET replicas = 54 WHERE tenant = 'IACB' RETURNING 1")
        answers = await race(world, lambda n: {**PATCH, "service": f"SERVICE-{n}", "changes": {"replicas": 2}})
        assert Counter(one.status_code for one in answers) == {202: 1, 409: CALLS - 1}
        excess = {"resource": "replicas", "at": "2026-11-23T12:00:00Z", "whose": "quota"}
        for one in answers:
            if one.status_code == 409:
                problem = one.json()
                assert problem["code"] == "quota_exceeded"
                assert problem["excess"] == {**excess, "wanted": "55", "bound": "54", "over": "1"}

    play(scene)


def test_one_idempotency_key_is_taken_in_once_however_often_it_comes_at_once(play: Play) -> None:
    async def scene(world: World) -> None:
        async with replicas(world) as both:
            keyed: dict[str, Any] = {"json": PATCH, "headers": {"Idempotency-Key": "one"}}
            calls = (both[number % 2].call("POST", "/api/patch", **keyed) for number in range(20))
            answers = await asyncio.gather(*calls)
        assert {one.status_code for one in answers} == {202}
        assert {one.json()["patch_id"] for one in answers} == {answers[0].json()["patch_id"]}
        assert world.sql("SELECT count(*) FROM patch") == [(1,)]

    play(scene)
