"""Redis Cluster for real: three masters, of which one dies or gives a slot away."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from hms_svc.address import redis_address
from hms_svc.cluster import whither
from hms_svc.resp import RedisSaidNo

from .brokers import Cluster, show
from .rig import SERVICE, TENANT, Acks, Agent, Control, free_port, until

KEY, ACKS = f"cfg-state::{TENANT}::{SERVICE}", f"ack::{TENANT}"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    made = Cluster(tmp_path_factory.mktemp("cluster") / "all")
    yield made
    made.close()


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    for node in shared.nodes:
        node.client.flushall()
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster")
    yield made
    made.close()


class Told:
    """Control and acks over a client of the cluster."""

    def __init__(self, control: Control, cluster: Cluster) -> None:
        self.client = cluster.client()
        control.client = self.client  # type: ignore[assignment] # it does what is asked of it
        self.acks = Acks(self.client)  # type: ignore[arg-type] # as above


def test_the_keys_of_a_stream_lie_on_any_nodes(
    new_agent: Callable[..., Agent], control: Control, cluster: Cluster
) -> None:
    """A fresh agent finds the snapshot and reports, whichever node it began with."""
    told = Told(control, cluster)
    control.put(1, {"rate_limit_rps": 200})
    for node in cluster.nodes:
        agent = new_agent(
            HMS_REDIS_URL=f"redis+cluster://127.0.0.1:{node.port}", HMS_INSTANCE=f"at-{node.port}"
        ).start()
        until(partial(_reported, told.acks, f"at-{node.port}"), "the report", 5)
        agent.stop()


def _reported(acks: Acks, instance: str) -> bool:
    mine = [report for report in acks.reports() if report["instance"] == instance]
    return bool(mine) and mine[-1]["active"] == [1]


@pytest.mark.parametrize("finish", [True, False])
def test_a_slot_that_moves_is_followed(
    new_agent: Callable[..., Agent], control: Control, cluster: Cluster, *, finish: bool
) -> None:
    """The reports' slot and the snapshot's; unfinished moves answer by ASK."""
    told = Told(control, cluster)
    agent = new_agent(HMS_REDIS_URL=cluster.url).start()
    control.put(1, {"rate_limit_rps": 200})
    told.acks.wait_active(1)
    for key in (ACKS, KEY):
        cluster.move(key, finish=finish)
    control.put(2, {"replicas": 6})
    told.acks.wait_active(1, 2, seconds=3)
    control.step([control.entry(3, {"lost": True})], [])  # only the snapshot can tell
    control.keep(control.snapshot())
    control.send(control.heartbeat())
    told.acks.wait_active(1, 2, 3, seconds=3)
    assert agent.events("unlinked") == []
    if not finish:
        _finish(cluster)


def _finish(cluster: Cluster) -> None:
    """Let the next test begin with a cluster at rest."""
    for key in (ACKS, KEY):
        slot = str(cluster.slot(key))
        holder = next(node for node in cluster.nodes if node.keys_in(slot))
        for node in cluster.nodes:
            node.command("CLUSTER", "SETSLOT", slot, "NODE", holder.id)


def test_the_node_that_is_listened_to_dies(new_agent: Callable[..., Agent], control: Control, own: Cluster) -> None:
    told = Told(control, own)
    agent = new_agent(HMS_REDIS_URL=own.url).start()
    until(lambda: any(node.subscribers() for node in own.nodes), "the subscription")
    dead = next(node for node in own.nodes if node.subscribers())
    dead.kill()
    since = time.monotonic()
    alive = [node for node in own.nodes if node is not dead]
    until(lambda: any(node.subscribers() for node in alive), "another node to be listened to", 5)
    show(f"subscribed elsewhere {time.monotonic() - since:.2f} s after the node died")
    signed = control.step([control.entry(1, {"rate_limit_rps": 200})], [])[1]
    alive[0].client.publish(f"cfg::{TENANT}", signed)  # whoever owns the keys may be the dead one
    until(lambda: "200" in agent.conf.read_text(), "the delta", 3)
    del told


def test_the_owner_of_the_reports_dies_and_comes_back(
    new_agent: Callable[..., Agent], control: Control, own: Cluster
) -> None:
    """Whoever is listened to stays: deltas are heard and applied, and what was to be said is said later."""
    owner = own.owner(ACKS)
    other = next(node for node in own.nodes if node is not owner and node is not own.owner(KEY))
    told = Told(control, own)
    agent = new_agent(HMS_REDIS_URL=f"redis+cluster://127.0.0.1:{other.port}").start()
    told.acks.wait_active()
    owner.kill()
    signed = control.step([control.entry(1, {"rate_limit_rps": 200})], [])[1]
    other.client.publish(f"cfg::{TENANT}", signed)
    until(lambda: "200" in agent.conf.read_text(), "the delta", 3)
    assert agent.events("unlinked") == []
    owner.start()
    Told(control, own).acks.wait_active(1, seconds=10)
    assert len(agent.events("redis_refused")) <= 10


def test_seeds_that_are_away_are_passed_over(
    new_agent: Callable[..., Agent], control: Control, cluster: Cluster
) -> None:
    told = Told(control, cluster)
    url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()},127.0.0.1:{cluster.nodes[1].port}"
    new_agent(HMS_REDIS_URL=url).start()
    told.acks.wait_active(seconds=5)


def test_where_a_node_sends_us() -> None:
    here = redis_address("X", "redis+cluster://10.0.0.9:7000").at("10.0.0.9", 7000)
    for text, host in (
        ("MOVED 3999 10.0.0.5:6381", ("10.0.0.5", 6381)),
        ("ASK 3999 node-2.example:6381", ("node-2.example", 6381)),
        ("MOVED 3999 ::1:6381", ("::1", 6381)),
        ("MOVED 3999 :6381", ("10.0.0.9", 6381)),
    ):
        assert whither(here, RedisSaidNo(text)).hosts == (host,)
    for text in ("MOVED", "MOVED 3999 10.0.0.5:x", "MOVED 3999 10.0.0.5:0"):
        with pytest.raises(RedisSaidNo, match="names no other"):
            whither(here, RedisSaidNo(text))


def test_check_goes_to_each_keys_owner(new_agent: Callable[..., Agent], cluster: Cluster) -> None:
    agent = new_agent()
    agent.environment["HMS_REDIS_URL"] = cluster.url
    (line,) = [line for line in agent.run("check").stdout.splitlines() if " redis " in line]
    assert line.startswith("ok ")
    assert "permits SUBSCRIBE, GET, XADD and PING" in line
