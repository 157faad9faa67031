"""The collector against a real Redis and a real Postgres: tenants apart, cursors kept, nonsense dropped."""

import json

import redis

from hms_mgt.bus import open_bus
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
