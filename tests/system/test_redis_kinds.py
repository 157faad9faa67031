"""MGT and sidecars on one Sentinel, and on one Cluster, all behind TLS, certificates and ACL users; the master dies."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_mgt.bus import acl_rule
from tests.conditions import THOROUGH
from tests.svc_io.brokers import Cluster, Guard, Sentinels
from tests.svc_io.rig import Agent
from tests.svc_io.rig import until as soon

from .production import Away, Production
from .system import SERVICE, TENANT, path_of

DATA, SENTINEL, OURS, THEIRS = "data-word", "guard-word", "own-word", "watch-word"
USER = f"{acl_rule(TENANT).removeprefix('user ')} >{OURS}"
ASKER = f"asker on -@all +sentinel|get-master-addr-by-name >{THEIRS}"
LOGIN, QUERY = f"sidecar-{TENANT}:{OURS}@", f"?sentinel_user=asker&sentinel_password={THEIRS}"
WINDOW_SECONDS = 15 if THOROUGH else 10
thorough = pytest.mark.skipif(not THOROUGH, reason="waits for a cluster of six, and a longer window")


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard.over(tmp_path / "ca")


@pytest.fixture
def sentinels(tmp_path: Path, guard: Guard) -> Iterator[Sentinels]:
    made = Sentinels(tmp_path / "redis", password=DATA, sentinel_password=SENTINEL, guard=guard)
    made.admit(USER, ASKER)
    yield made
    made.close()


@pytest.fixture
def cluster(tmp_path: Path, guard: Guard) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "redis", replicas=1, guard=guard)
    made.admit(USER)
    yield made
    made.close()


def on(place: Path, database: str, url: str, guard: Guard) -> Production:
    return Production(place, database, url, **guard.authority.files(guard.client))


def lives_through(plant: Production, agent: Agent, fail_over: Callable[[], Any]) -> None:
    """One patch before the failover, whose window ends after it, and one in the middle of it."""
    agent.start()
    plant.start()
    passing = plant.submit({"greeting": "for a while"}, f"{WINDOW_SECONDS}s")
    soon(lambda: "for a while" in agent.conf.read_text(), "the first patch")
    gone = Away()
    fail_over()
    staying = plant.submit({"rate_limit_rps": 60})
    plant.reaches(staying, "APPLIED")
    assert gone.excuses() or not agent.events("stale")
    path = path_of(plant.reaches(passing, "EXPIRED"))
    assert "APPLIED" in path or not THOROUGH, "the short window may end before MGT has heard of it"
    text = agent.conf.read_text()
    assert "rate_limit_rps: 60" in text
    assert "greeting: hello" in text
    keeps_quiet(agent)


def keeps_quiet(agent: Agent) -> None:
    log = agent.log_path.read_text()
    assert not [word for word in (DATA, SENTINEL, OURS, THEIRS) if word in log]


def test_sentinel(tmp_path: Path, database: str, sentinels: Sentinels, guard: Guard) -> None:
    plant = on(tmp_path, database, sentinels.url, guard)
    try:
        agent = plant.sidecar(HMS_REDIS_URL=sentinels.url_for(LOGIN, QUERY))
        lives_through(plant, agent, sentinels.master.kill)
    finally:
        plant.close()


@thorough
def test_cluster(tmp_path: Path, database: str, cluster: Cluster, guard: Guard) -> None:
    plant = on(tmp_path, database, cluster.url, guard)
    try:
        agent = plant.sidecar(HMS_REDIS_URL=cluster.url_for(LOGIN))
        lives_through(plant, agent, cluster.owner(f"cfg-state::{TENANT}::{SERVICE}").kill)
    finally:
        plant.close()
