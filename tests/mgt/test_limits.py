"""How many requests get in: a burst, then 429 with when to come again; nobody pays for somebody else."""

import asyncio
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from structlog.testing import capture_logs

from hms_mgt.domain.rate import Rates, bucket
from hms_mgt.errors import RateLimited
from hms_mgt.usecases import limits
from hms_mgt.usecases.limits import Limits
from tests.mgt.conftest import Play, World
from tests.mgt.issuer import by_the_set_clock, issuer


@pytest.fixture
def play(play: Play) -> Play:
    """As everywhere, but what is remembered of tokens ages by the clock that the test sets."""
    return by_the_set_clock(play)


def limit(world: World, per_token: float = 1e6, per_tenant: float = 1e6, failures: float = 1e6) -> None:
    world.limits = Limits(Rates(per_token, per_tenant, failures), world.clock.monotonic)


async def calls(world: World, count: int, who: str = "viewer@IACB") -> list[int]:
    return [(await world.call("GET", "/api/instance", who)).status_code for _ in range(count)]


def test_after_its_burst_a_token_is_told_when_to_come_again(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, per_token=0.5)
        assert await calls(world, 1) == [200]
        over = await world.call("GET", "/api/instance", "viewer@IACB")
        assert (over.status_code, over.headers["retry-after"]) == (429, "2")
        assert over.headers["content-type"] == "application/problem+json"
        assert (over.json()["code"], over.json()["retry_after"]) == ("rate_limited", 2)
        assert await calls(world, 1, "auditor@IACB") == [200], "another token is another matter"
        world.clock.forward(seconds=2)
        assert await calls(world, 2) == [200, 429]
        assert world.sql("SELECT count(*) FROM audit WHERE action = 'denied'") == [(0,)]

    play(scene)


def test_a_burst_is_twice_the_rate_and_comes_back_with_time(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, per_token=5)
        assert await calls(world, 12) == [200] * 10 + [429] * 2
        world.clock.forward(seconds=1)
        assert await calls(world, 7) == [200] * 5 + [429] * 2
        world.clock.forward(hours=1)
        assert await calls(world, 11) == [200] * 10 + [429]

    play(scene)


def test_a_tenants_tokens_share_its_limit_and_other_tenants_do_not(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, per_tenant=2)
        assert await calls(world, 2, "viewer@IACB") == [200] * 2
        assert await calls(world, 3, "auditor@IACB") == [200, 200, 429]
        assert await calls(world, 1, "viewer@VA") == [200]
        over = await world.call("GET", "/api/instance", "viewer@IACB")
        assert "by this tenant" in over.json()["detail"]

    play(scene)


def test_guesses_are_held_up_and_who_is_known_at_the_same_address_is_not(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, failures=2)
        assert await calls(world, 1, "viewer@IACB") == [200]
        guessed = [(await calls(world, 1, f"hms_{number}"))[0] for number in range(6)]
        assert guessed == [401] * 4 + [429] * 2
        assert (await world.client.get("/api/instance")).status_code == 429
        assert await calls(world, 1, "auditor@IACB") == [429], "even a right guess learns nothing now"
        world.clock.forward(seconds=0.4)
        assert await calls(world, 1, "viewer@IACB") == [200]
        world.clock.forward(seconds=1)
        assert await calls(world, 1, "auditor@IACB") == [200]

    play(scene)


def test_tokens_of_issuers_cannot_be_guessed_and_their_failures_count(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            limit(world, failures=1)
            assert [(await calls(world, 1, "a.b.c"))[0] for _ in range(4)] == [401, 401, 429, 429]
            assert await calls(world, 1, fake.token()) == [200]

    play(scene)


def test_health_and_the_description_are_free(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, 0.1, 0.1, 0.1)
        for path in ("/livez", "/readyz", "/openapi.json"):
            assert {(await world.client.get(path)).status_code for _ in range(5)} == {200}

    play(scene)


def test_who_is_over_the_limit_is_in_the_log_once_a_second(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, per_token=0.5)
        with capture_logs() as logs:
            await calls(world, 5)
            world.clock.forward(seconds=1)
            await calls(world, 5)
        assert [(line["scope"], line["name"]) for line in logs] == [("token", "viewer@IACB")] * 2

    play(scene)


def test_a_limited_caller_costs_the_database_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, per_token=0.5)
        assert await calls(world, 1) == [200]
        # That the token was used is noted beside the request.
        await asyncio.gather(*world.authenticator._noting)
        asked: list[str] = []
        event.listen(world.db.engine.sync_engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
        assert await calls(world, 3) == [429] * 3
        assert asked == []

    play(scene)


def test_addresses_of_one_network_are_one_caller_and_names_are_forgotten() -> None:
    at = [0.0]
    made = Limits(Rates(failures=0.5), lambda: at[0])
    made.failure("2001:db8::1")
    for source, free in (("2001:db8::2", False), ("2001:db8:0:1::1", True), ("192.0.2.1", True), ("unknown", True)):
        assert _gets_in(made, source) is free, source
    made.failure("::ffff:198.51.100.1")
    for source, free in (("198.51.100.1", False), ("::ffff:198.51.100.2", True), ("::1", True)):
        assert _gets_in(made, source) is free, source
    for number in range(limits._MOST_BUCKETS):
        made.failure(f"client-{number}")
    assert len(made._failures._full_at) == limits._MOST_BUCKETS


def _gets_in(made: Limits, source: str) -> bool:
    try:
        made.guess(source)
    except RateLimited:
        return False
    return True


@given(st.floats(0.01, 1e4), st.lists(st.floats(0, 10), max_size=60))
def test_no_more_gets_in_than_the_burst_and_what_time_brings(rate: float, gaps: Sequence[float]) -> None:
    of = bucket(rate)
    now, full_at, taken = 0.0, float("-inf"), 0
    for gap in gaps:
        now += gap
        wait = of.wait(full_at, now)
        if wait <= 0:
            full_at = of.taken(full_at, now)
            taken += 1
        else:
            assert of.wait(full_at, now + wait) == 0
        assert taken <= of.burst + rate * (now + 1e-4)


def test_many_at_once_are_counted_one_by_one(play: Play) -> None:
    async def scene(world: World) -> None:
        limit(world, per_token=5)
        answers: list[httpx.Response] = await asyncio.gather(
            *(world.call("GET", "/api/instance", "viewer@IACB") for _ in range(30))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 10 + [429] * 20

    play(scene)
