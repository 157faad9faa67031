"""The collector against a real Redis and a real Postgres: tenants apart, cursors kept, nonsense dropped."""

import json
from contextlib import suppress

import redis

from hms_mgt.bus import open_bus
from hms_mgt.errors import Unavailable
from hms_mgt.workers import collector
from tests.mgt.conftest import Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.test_bus import server as redis_server

__all__ = ["redis_server"]


def test_reports_arrive_and_an_entry_from_the_future_silences_nobody(play: Play, redis_server: str) -> None:
    async def scene(world: World) -> None:
        bus = open_bus(redis_server)
        report = json.dumps(await Fleet(world)._state("a")).encode()

        async def read() -> list[str]:
            await collector.step(world.db, bus, world.trust, world.clock)
            found = (await world.call("GET", "/api/instance")).json()["items"]
            return [one["instance"] for one in found]

        with redis.Redis.from_url(redis_server) as sidecar:
            now_ms = int(world.clock.now().timestamp() * 1000)
            sidecar.xadd("ack::IACB", {"m": b"x"}, id=f"{2**64 - 1}-{2**64 - 1}")
            sidecar.xadd("ack::VA", {"m": report}, id=f"{now_ms}-0")
            assert await read() == []
            sidecar.xadd("ack::IACB", {"m": report}, id=f"{now_ms}-1")
            assert await read() == ["a"]
            cursors = world.sql("SELECT tenant, entry_id FROM ack_cursor ORDER BY 1")
            assert cursors == [("IACB", f"{now_ms}-1"), ("VA", f"{now_ms}-0")]
        await bus.close()

    play(scene)


def test_entries_of_any_shape_and_any_id_are_passed_over(play: Play, redis_server: str) -> None:
    async def scene(world: World) -> None:
        bus = open_bus(redis_server)
        report = json.dumps(await Fleet(world)._state("a")).encode()
        odd: list[dict[bytes, bytes]] = [
            {b"": b""},
            {b"M": report},
            {b"m": b"\xff\x00"},
            {b"m\x00": report},
            {b"\xff" * 1000: b"\xff" * 100_000},
            {str(number).encode(): report for number in range(500)},
            {b"n": report, b"m": b"null"},
        ]
        with redis.Redis.from_url(redis_server) as sidecar:
            now_ms = int(world.clock.now().timestamp() * 1000)
            ids = ["0-1", "1-0", f"1-{2**64 - 1}", "2-*", f"{now_ms - 9}-0", f"{now_ms - 9}-7", f"{now_ms - 8}-*"]
            for fields, entry_id in zip(odd, ids, strict=True):
                sidecar.xadd("ack::IACB", fields, id=entry_id)
            sidecar.xadd("ack::NOBODY", {"m": report})
            sidecar.set("ack::GSA", "no stream at all")
            sidecar.xadd("ack::IACB", {"m": report}, id=f"{now_ms}-0")
            for _ in range(3):
                await collector.step(world.db, bus, world.trust, world.clock)
            found = (await world.call("GET", "/api/instance")).json()["items"]
            assert [one["instance"] for one in found] == ["a"]
            assert world.sql("SELECT count(*) FROM instance") == [(1,)]
            assert world.sql("SELECT entry_id FROM ack_cursor WHERE tenant = 'IACB'") == [(f"{now_ms}-0",)]
        await bus.close()

    play(scene)


def test_a_key_that_is_no_stream_holds_up_no_other_tenant(play: Play, redis_server: str) -> None:
    """A sidecar may XADD to its own name only; but whoever may SET there must not silence the others."""

    async def scene(world: World) -> None:
        bus = open_bus(redis_server)
        report = json.dumps(await Fleet(world)._state("a")).encode()
        with redis.Redis.from_url(redis_server) as sidecar:
            sidecar.set("ack::VA", "no stream")
            sidecar.xadd("ack::IACB", {"m": report}, id=f"{int(world.clock.now().timestamp() * 1000)}-0")
            for _ in range(2):
                with suppress(Unavailable):
                    await collector.step(world.db, bus, world.trust, world.clock)
            found = (await world.call("GET", "/api/instance")).json()["items"]
            assert [one["instance"] for one in found] == ["a"]
        await bus.close()

    play(scene)
