"""The broker for real: names, order, cursors, and what an ACL user may do. Against a private redis-server."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from hms_mgt.bus import RedisBus, acl_rule
from hms_mgt.errors import Unavailable


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    binary = shutil.which("redis-server")
    assert binary, "redis-server must be installed for this test"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [binary, "--port", str(port), "--save", "", "--dir", str(tmp_path), "--loglevel", "warning"]
    )
    url = f"redis://127.0.0.1:{port}/0"
    deadline = time.monotonic() + 10
    with redis.Redis.from_url(url) as client:
        while time.monotonic() < deadline:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.02)
    yield url
    process.kill()
    process.wait()


def test_reports_come_behind_the_cursor_and_again_until_it_moves(server: str) -> None:
    async def scene() -> None:
        bus = RedisBus(server)
        with redis.Redis.from_url(server) as sidecar:
            first = sidecar.xadd("ack::IACB", {"m": b"one"}).decode()
            sidecar.xadd("ack::VA", {"m": b"two"})
        everything = {"IACB": "0", "VA": "0"}
        entries = await bus.read_acks(everything, 100)
        assert [(one.tenant, one.body) for one in entries] == [("IACB", b"one"), ("VA", b"two")]
        assert await bus.read_acks(everything, 100) == entries
        assert [one.tenant for one in await bus.read_acks({**everything, "IACB": first}, 100)] == ["VA"]
        await bus.close()

    asyncio.run(scene())


def test_what_was_taken_in_is_dropped_and_so_is_a_stream_that_was_exhausted(server: str) -> None:
    async def scene() -> None:
        bus = RedisBus(server)
        with redis.Redis.from_url(server) as sidecar:
            ids = [sidecar.xadd("ack::IACB", {"m": b"x"}).decode() for _ in range(500)]
            await bus.trim_acks("IACB", ids[-1])
            assert sidecar.xlen("ack::IACB") < 200
            sidecar.xadd("ack::IACB", {"m": b"x"}, id=f"{2**64 - 1}-{2**64 - 1}")
            with pytest.raises(redis.ResponseError):
                sidecar.xadd("ack::IACB", {"m": b"x"})
            await bus.drop_acks("IACB")
            assert sidecar.xadd("ack::IACB", {"m": b"x"})
        await bus.close()

    asyncio.run(scene())


def test_snapshots_are_kept_by_stream_and_messages_go_to_their_tenant(server: str) -> None:
    async def scene() -> None:
        bus = RedisBus(server)
        await bus.put_snapshot("IACB", "API", "signed")
        assert await bus.snapshots([("IACB", "API"), ("VA", "API")]) == ["signed", None]
        assert await bus.snapshots([]) == []
        with redis.Redis.from_url(server) as client, client.pubsub(ignore_subscribe_messages=True) as channel:
            channel.subscribe("cfg::IACB")
            channel.get_message(timeout=1)
            await bus.publish("VA", "not for us")
            await bus.publish("IACB", "for us")
            message = channel.get_message(timeout=2)
        assert message is not None
        assert message["data"] == b"for us"
        await bus.close()

    asyncio.run(scene())


def test_a_redis_that_is_away_is_unavailable_in_every_call() -> None:
    async def scene() -> None:
        bus = RedisBus("redis://127.0.0.1:1/0")
        for call in (
            bus.ping(),
            bus.publish("T", "m"),
            bus.put_snapshot("T", "S", "m"),
            bus.snapshots([("T", "S")]),
            bus.read_acks({"T": "0"}, 10),
        ):
            with pytest.raises(Unavailable):
                await call
        await bus.close()

    asyncio.run(scene())


def test_the_acl_rule_lets_a_sidecar_do_its_work_and_nothing_else(server: str) -> None:
    with redis.Redis.from_url(server) as admin:
        admin.execute_command("ACL", "SETUSER", *acl_rule("IACB").split()[1:], ">secret")
    url = server.replace("redis://", "redis://sidecar-IACB:secret@")
    with redis.Redis.from_url(url) as sidecar:
        sidecar.ping()
        assert sidecar.get("cfg-state::IACB::API") is None
        sidecar.xadd("ack::IACB", {"m": "x"})
        with sidecar.pubsub() as channel:
            channel.subscribe("cfg::IACB")
            assert (channel.get_message(timeout=2) or {})["type"] == "subscribe"
        for forbidden in (
            ("GET", "cfg-state::VA::API"),
            ("SET", "cfg-state::IACB::API", "x"),
            ("XADD", "ack::VA", "*", "m", "x"),
            ("XREAD", "STREAMS", "ack::IACB", "0"),
            ("PUBLISH", "cfg::IACB", "x"),
            ("FLUSHALL",),
            ("SUBSCRIBE", "cfg::VA"),
            ("PSUBSCRIBE", "cfg::*"),
        ):
            with pytest.raises(redis.ResponseError, match=r"(?i)permission"):
                sidecar.execute_command(*forbidden)
