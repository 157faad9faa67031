"""Windows hold with everything else dead: the agent's own journalled timers start and end patches."""

import time
from pathlib import Path

import pytest

from .rig import CONF, Acks, Agent, Control, Nginx, Redis, until


def test_a_killed_agent_reverts_within_a_second_of_its_restart(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks, redis_server: Redis
) -> None:
    nginx_agent.start()
    acks.wait_active()
    a_second = nginx_agent.a_second()
    end = time.time() + 2 * a_second
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    nginx_agent.kill()
    redis_server.kill()
    until(lambda: time.time() > end, "the end of the window")
    assert nginx.header() == "200"
    nginx_agent.start()
    until(lambda: nginx.header() == "50", "the expired window to go", a_second)
    assert nginx_agent.conf.read_text() == CONF


def test_a_scheduled_patch_starts_and_ends_without_redis(
    agent: Agent, control: Control, acks: Acks, redis_server: Redis
) -> None:
    agent.start()
    acks.wait_active()
    a_second = agent.a_second()
    start = time.time() + 1.5 * a_second
    end = start + a_second
    control.put(1, {"rate_limit_rps": 200}, start=start, end=end)
    until(lambda: acks.receipts(1) == ["received", "verified"], "the patch to be held")
    redis_server.kill()
    assert agent.conf.read_text() == CONF
    until(lambda: "rate_limit_rps: 200" in agent.conf.read_text(), "the start", end - time.time())
    assert time.time() >= start
    until(lambda: agent.conf.read_text() == CONF, "the end", end + a_second - time.time())
    assert time.time() >= end
    assert agent.running()


@pytest.fixture
def gate(agent: Agent) -> Path:
    """While it is there, checks hang."""
    gate = agent.directory / "hang"
    agent.environment["HMS_CHECK"] = f"sh -c 'while test -e {gate}; do sleep 0.05; done'"
    return gate


def test_a_hanging_check_does_not_hold_a_window_open(agent: Agent, control: Control, acks: Acks, gate: Path) -> None:
    agent.start()
    acks.wait_active()
    a_second = agent.a_second()
    end = time.time() + 1.5 * a_second
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    gate.touch()
    until(lambda: agent.conf.read_text() == CONF, "the end", end + a_second - time.time())


def test_an_ending_interrupts_an_addition_that_hangs(agent: Agent, control: Control, acks: Acks, gate: Path) -> None:
    agent.start()
    acks.wait_active()
    a_second = agent.a_second()
    end = time.time() + 2 * a_second
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    gate.touch()
    control.put(2, {"replicas": 6})
    until(lambda: acks.receipts(2), "the second patch to be held")
    until(lambda: agent.conf.read_text() == CONF, "the first one's end", end + a_second - time.time())
    gate.unlink()
    acks.wait_active(2)


def test_an_end_is_reported_as_reverted(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    agent.kill()
    control.end(1)
    agent.start()
    acks.wait_active()
    until(lambda: acks.receipts(1)[-1:] == ["reverted"], "the receipt, although the agent was killed between")
