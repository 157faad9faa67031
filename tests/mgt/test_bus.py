"""The broker for real: names, order, cursors, and what an ACL user may do. Against a private redis-server."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import redis
from pydantic import ValidationError

from hms_mgt.bus import RedisBus, acl_rule, open_bus
from hms_mgt.errors import Unavailable
from hms_mgt.settings import Settings
from hms_svc.address import TlsFiles
from tests.svc_io.authority import Authority
from tests.svc_io.brokers import Cluster, Sentinels
from tests.svc_io.rig import Redis


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
        bus = open_bus(server)
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
        bus = open_bus(server)
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
        bus = open_bus(server)
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster") / "all")
    yield made
    made.close()


def test_a_cluster_keeps_what_lies_on_several_nodes(cluster: Cluster) -> None:
    tenants = [f"T{number}" for number in range(12)]
    assert len({cluster.owner(f"ack::{tenant}").port for tenant in tenants}) == 3

    async def scene() -> None:
        bus = open_bus(cluster.url)
        for tenant in tenants:
            await bus.put_snapshot(tenant, "API", f"signed for {tenant}")
        found = await bus.snapshots([*((tenant, "API") for tenant in tenants), ("T0", "OTHER")])
        assert found == [*(f"signed for {tenant}" for tenant in tenants), None]
        assert await bus.snapshots([]) == []
        sidecar = cluster.client()
        for tenant in tenants:
            for number in range(2):
                sidecar.xadd(f"ack::{tenant}", {"m": f"{tenant}-{number}"})
        entries = await bus.read_acks(dict.fromkeys(tenants, "0"), 1000)
        assert [(one.tenant, one.body.decode()) for one in entries] == [
            (t, f"{t}-{n}") for t in tenants for n in (0, 1)
        ]
        last = {one.tenant: one.entry_id for one in entries}
        # One node after the other would take three times as long, each time; a busy machine does not, three times.
        assert 0.25 < min([await _idle_read(bus, last) for _ in range(3)]) < 0.8
        await bus.trim_acks("T1", last["T1"])
        await bus.drop_acks("T0")
        assert sidecar.exists("ack::T0") == 0
        await bus.ping()
        await bus.close()
        sidecar.close()

    asyncio.run(scene())


async def _idle_read(bus: RedisBus, last: Mapping[str, str]) -> float:
    """How long a read waits when there is nothing."""
    since = time.monotonic()
    assert await bus.read_acks(last, 300) == []
    return time.monotonic() - since


def test_a_message_to_a_cluster_reaches_subscribers_of_every_node(cluster: Cluster) -> None:
    async def scene() -> None:
        bus = open_bus(cluster.url)
        listeners = [_listener(node.client) for node in cluster.nodes]
        for listener in listeners:
            listener.subscribe("cfg::IACB")
            listener.get_message(timeout=1)
        for number in range(5):
            await bus.publish("IACB", f"message {number}")
        for listener in listeners:
            for number in range(5):
                found = listener.get_message(timeout=2)
                assert found is not None
                assert found["data"] == f"message {number}".encode()
            listener.close()
        await bus.close()

    asyncio.run(scene())


def test_slots_that_moved_and_nodes_that_died(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "cluster")

    async def scene() -> None:
        bus = open_bus(cluster.url)
        await bus.put_snapshot("IACB", "API", "signed")
        cluster.move("cfg-state::IACB::API")
        cluster.move("ack::IACB")
        assert await bus.snapshots([("IACB", "API")]) == ["signed"]
        cluster.client().xadd("ack::IACB", {"m": "told"})
        assert [one.body for one in await bus.read_acks({"IACB": "0"}, 500)] == [b"told"]
        owner = cluster.owner("cfg-state::IACB::API")
        owner.kill()
        with pytest.raises(Unavailable):
            await bus.snapshots([("IACB", "API")])
        with pytest.raises(Unavailable):
            await bus.put_snapshot("IACB", "API", "newer")
        owner.start()
        await _again(lambda: bus.put_snapshot("IACB", "API", "newer"))
        await bus.publish("IACB", "still there")
        await bus.close()

    try:
        asyncio.run(scene())
    finally:
        cluster.close()


def _listener(client: redis.Redis) -> redis.client.PubSub:
    made: redis.client.PubSub = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    return made


async def _again(act: Callable[[], Awaitable[object]], seconds: float = 10) -> None:
    """As the callers' loops do: until it works."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            await act()
        except Unavailable:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        else:
            return


def test_sentinel_is_asked_for_the_master_also_after_a_failover(tmp_path: Path) -> None:
    sentinels = Sentinels(tmp_path / "sentinels", password="data-word", sentinel_password="guard-word")

    async def scene() -> None:
        bus = open_bus(sentinels.url)
        await bus.put_snapshot("IACB", "API", "old")
        assert sentinels.master.client.get("cfg-state::IACB::API") == b"old"
        sentinels.master.kill()
        with pytest.raises(Unavailable):
            await bus.ping()
        await _again(lambda: bus.put_snapshot("IACB", "API", "new"), 20)
        assert sentinels.replica.client.get("cfg-state::IACB::API") == b"new"
        assert await bus.snapshots([("IACB", "API")]) == ["new"]
        await bus.close()

    try:
        asyncio.run(scene())
    finally:
        sentinels.close()


def test_a_client_certificate_is_shown(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = Redis(tmp_path / "redis", *authority.redis_options(authority.issue("server"), port))

    async def scene() -> None:
        bus = open_bus(f"rediss://localhost:{port}", authority.tls_files(authority.issue("mgt")))
        await bus.put_snapshot("IACB", "API", "signed")
        assert await bus.snapshots([("IACB", "API")]) == ["signed"]
        await bus.close()
        for files in (TlsFiles(), TlsFiles(ca=str(authority.cert))):
            stranger = open_bus(f"rediss://localhost:{port}", files)
            with pytest.raises(Unavailable):
                await stranger.ping()
            await stranger.close()

    try:
        asyncio.run(scene())
    finally:
        server.kill()


def test_a_url_that_makes_no_sense_is_refused_without_its_password() -> None:
    for url in ("redis+sentinel://:secret@h1:26379", "redis+cluster://:secret@h:0", "redis+other://:secret@h"):
        with pytest.raises(ValidationError) as refused:
            Settings(database_url="postgresql://h/d", redis_url=url)
        assert "HMS_REDIS_URL" in str(refused.value.errors()[0]["msg"])
        assert "secret" not in str(refused.value.errors()[0]["msg"])


def test_a_redis_that_is_away_is_unavailable_in_every_call() -> None:
    async def scene() -> None:
        bus = open_bus("redis://127.0.0.1:1/0")
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
