"""Redis Sentinel for real: three of them, a master and a replica, and a master that dies or is demoted."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_svc import sentinel
from hms_svc.address import redis_address
from hms_svc.resp import RedisError
from tests.conditions import THOROUGH

from .brokers import Sentinels, show
from .rig import Acks, Agent, Control, free_port, until

thorough = pytest.mark.skipif(not THOROUGH, reason="waits for sentinels for 20 s each")


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    yield from _made(tmp_path_factory.mktemp("sentinels"))


@pytest.fixture
def others(tmp_path: Path) -> Iterator[Sentinels]:
    yield from _made(tmp_path)


def _made(directory: Path) -> Iterator[Sentinels]:
    made = Sentinels(directory / "all", password="data-word", sentinel_password="guard-word")
    yield made
    made.close()


def subscribers(of: object) -> int:
    client = getattr(of, "client")  # noqa: B009 - a server of any kind
    count: int = client.pubsub_numsub("cfg::IACB")[0][1]
    return count


def test_a_server_that_is_no_master_is_not_taken(sentinels: Sentinels) -> None:
    address = redis_address("X", f"redis://:data-word@127.0.0.1:{sentinels.replica.port}")
    with pytest.raises(RedisError, match="no master"):
        sentinel._reach(address)


def test_a_master_that_no_sentinel_knows(sentinels: Sentinels) -> None:
    with pytest.raises(RedisError, match="knows no master 'others'"):
        sentinel.reach_master(redis_address("X", sentinels.url)._replace(master="others"))


def test_the_sentinels_have_a_password_of_their_own(sentinels: Sentinels) -> None:
    wrong = redis_address("X", sentinels.url.replace("guard-word", "other-word"))
    with pytest.raises(RedisError, match="refuses the user or the password") as refused:
        sentinel.reach_master(wrong)
    assert "-word" not in str(refused.value)


def test_sentinels_that_are_away_are_passed_over(sentinels: Sentinels) -> None:
    address = redis_address("X", sentinels.url)
    address = address._replace(hosts=(("127.0.0.1", free_port()), ("127.0.0.1", free_port()), *address.hosts[:1]))
    for _ in range(5):  # each time beginning with another one
        found, connection = sentinel.reach_master(address)
        connection.close()
        assert found.hosts == (("127.0.0.1", sentinels.master.port),)


def test_a_failover_is_followed(new_agent: Callable[..., Agent], control: Control, sentinels: Sentinels) -> None:
    """The last one to use these sentinels."""
    agent = fail_over(new_agent, control, sentinels)
    log = agent.log_path.read_text()
    assert "data-word" not in log
    assert "guard-word" not in log


def fail_over(new_agent: Callable[..., Agent], control: Control, sentinels: Sentinels) -> Agent:
    old, new = sentinels.master, sentinels.replica
    control.client, acks = old.client, Acks(old.client)
    agent = new_agent(HMS_REDIS_URL=sentinels.url).start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    old.kill()
    until(lambda: new.info("replication")["role"] == "master", "the failover", 20)
    since = time.monotonic()
    control.client = new.client
    until(lambda: subscribers(new) == 1, "the agent to subscribe to the new master", 5)
    show(f"subscribed {time.monotonic() - since:.2f} s after the failover")
    control.put(2, {"replicas": 6})
    Acks(new.client).wait_active(1, 2, seconds=3)
    return agent


@thorough
def test_an_old_master_that_comes_back_is_left_alone(
    new_agent: Callable[..., Agent], control: Control, others: Sentinels
) -> None:
    agent = fail_over(new_agent, control, others)
    others.master.start()
    until(lambda: others.master.info("replication")["role"] == "slave", "the old master to become a replica", 30)
    assert subscribers(others.master) == 0
    assert subscribers(others.replica) == 1
    assert agent.events("linked")[-1]["redis"] == others.replica.url


@thorough
def test_a_demoted_master_is_left(new_agent: Callable[..., Agent], control: Control, others: Sentinels) -> None:
    """Nothing died: the agent was on a server that is no master any more."""
    control.client = others.master.client
    new_agent(HMS_REDIS_URL=others.url).start()
    Acks(others.master.client).wait_active()
    others.ask("SENTINEL", "FAILOVER", "artists")
    until(lambda: others.named() == others.replica.port, "the failover", 20)
    until(lambda: subscribers(others.replica) == 1, "the new subscription", 20)


def test_a_master_that_became_a_replica_without_a_word_is_left(
    new_agent: Callable[..., Agent], control: Control, others: Sentinels
) -> None:
    """No connection broke: a report is refused as READONLY, and that is enough."""
    control.client = others.master.client
    agent = new_agent(HMS_REDIS_URL=others.url).start()
    Acks(others.master.client).wait_active()
    others.master.command("REPLICAOF", "127.0.0.1", str(others.replica.port))
    control.send("no message")  # of which there is something to report
    assert "READONLY" in agent.wait_for("unlinked")[0]["detail"]
