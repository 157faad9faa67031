"""`hms-svc status`: the running agent's own words, the journal's when it does not run, and an exit code to go by."""

import json
import os
import signal
import time
from typing import Any

import pytest

from hms_svc.status_text import span

from .rig import INSTANCE, SERVICE, Acks, Agent, Control, Nginx, Redis, until


def view(agent: Agent) -> dict[str, Any]:
    result = agent.run("status", "-o", "json")
    assert result.returncode in (0, 1), result.stderr
    shown: dict[str, Any] = json.loads(result.stdout)
    return shown


def stages(shown: dict[str, Any]) -> dict[int, str]:
    return {one["id"]: one["stage"] for one in shown["patches"]}


def test_a_steady_agent_says_so(nginx_agent: Agent, control: Control, acks: Acks) -> None:
    nginx_agent.start()
    control.put(1, {"rate_limit_rps": 200}, end=time.time() + 7200)
    acks.wait_active(1)
    result = nginx_agent.run("status")
    assert (result.returncode, result.stderr) == (0, "")
    for words in (
        INSTANCE,
        SERVICE,
        "STEADY",
        f"pid {nginx_agent.pid}",
        "revision   1 of 1",
        "link       up",
        "1 h 59 min",
    ):
        assert words in result.stdout
    shown = view(nginx_agent)
    assert (shown["running"], shown["phase"], shown["link_up"], shown["stale"]) == (True, "steady", True, False)
    assert (shown["in_effect"], shown["active"], shown["attempts"]["effective"]) == (True, [1], 2)
    assert 0 < shown["last_apply_seconds"] < 10
    assert stages(shown) == {1: "effective"}


def test_each_patch_says_where_it_stands_and_no_value_is_shown(
    nginx_agent: Agent, control: Control, acks: Acks
) -> None:
    nginx_agent.start()
    now = time.time()
    control.publish(
        [
            control.entry(1, {"rate_limit_rps": 987_654_321}),  # longer than what any instant's fraction shows
            control.entry(2, {"rate_limit_rps": "hushhush"}),
            control.entry(3, {"greeting": "hushhush"}, start=now + 3600),
            control.entry(4, {"greeting": "hushhush"}, version_selector=">=9"),
            control.entry(5, {"greeting": "hushhush"}, start=now - 60, end=now - 1),
        ]
    )
    report = until(lambda: acks.last() if acks.last().get("failed") else {}, "a failed patch")
    assert report["failed"][0]["patch_id"] == 2
    acks.wait_active(1)
    result = nginx_agent.run("status")
    assert result.returncode == 1
    assert "FAILED" in result.stdout
    assert stages(view(nginx_agent)) == {
        1: "effective",
        2: "failed at checked",
        3: "waiting",
        4: "not for this one",
        5: "ended",
    }
    assert "invalid rate" in result.stdout  # nginx' own words
    everything = result.stdout + nginx_agent.run("status", "-o", "json").stdout
    assert "987654321" not in everything
    assert everything.count("hushhush") == 2  # once in each, in what nginx says about it


def test_a_stopped_agent_is_read_from_its_journal(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    agent.stop()
    assert not (agent.state / "status.sock").exists()
    before = {path.name: path.read_bytes() for path in agent.state.iterdir()}
    result = agent.run("status")
    assert result.returncode == 1
    assert "NOT RUNNING" in result.stdout
    assert stages(view(agent)) == {1: "effective"}
    assert {path.name: path.read_bytes() for path in agent.state.iterdir()} == before


def test_a_killed_agent_is_not_taken_for_a_running_one(agent: Agent, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    agent.kill()
    assert (agent.state / "status.sock").exists()
    assert "NOT RUNNING" in agent.run("status").stdout
    agent.start()
    until(lambda: agent.run("status", "--live").returncode == 0, "the next life to answer on the same socket")


def test_one_that_never_ran_is_said_to_be_that(agent: Agent) -> None:
    result = agent.run("status")
    assert (result.returncode, result.stderr) == (1, "")
    assert "there is no journal" in result.stdout
    assert agent.run("status", "--live").returncode == 1


def test_a_stuck_loop_is_told_from_none(agent: Agent, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        result = agent.run("status")
        assert result.returncode == 1
        assert "NOT ANSWERING" in result.stdout
        assert f"pid {agent.pid} holds the lock" in result.stdout
    finally:
        os.kill(agent.pid, signal.SIGCONT)


def test_it_needs_the_state_directory_alone_when_the_agent_runs(agent: Agent, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    agent.environment = {name: agent.environment[name] for name in ("PATH", "PYTHONPATH")}
    assert agent.run("status", "--state", str(agent.state)).returncode == 0
    lacking = agent.run("status", "--state", str(agent.directory / "elsewhere"))
    assert (lacking.returncode, "TENANT" in lacking.stderr) == (2, True)


def test_readiness_outlives_redis_and_a_failed_patch(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks, redis_server: Redis
) -> None:
    nginx.stop()
    nginx_agent.start()
    until(lambda: view(nginx_agent).get("link_up"), "the link")
    before = nginx_agent.run("status", "--ready")
    assert (before.returncode, "not ready" in before.stdout) == (1, True)
    nginx.start()
    until(lambda: nginx_agent.run("status", "--ready").returncode == 0, "readiness once the service was seen")
    control.put(1, {"rate_limit_rps": "none"})
    until(lambda: acks.last().get("phase") == "failed", "a failed patch")
    redis_server.kill()
    until(lambda: not view(nginx_agent)["link_up"], "the link to be seen as gone")
    after = nginx_agent.run("status", "--ready")
    assert (after.returncode, "ready: failed" in after.stdout) == (0, True)
    redis_server.start()


@pytest.mark.parametrize("words", [("-o", "yaml"), ("-o",), ("--nonsense", "1")])
def test_wrong_flags_are_usage_errors(agent: Agent, words: tuple[str, ...]) -> None:
    assert agent.run("status", *words).returncode == 2


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3661, "1 h 1 min"), (7201, "2 h"), (200_000, "2 d 7 h"), (-5, "5 s")],
)
def test_spans_are_said_in_two_units_at_most(seconds: float, words: str) -> None:
    assert span(seconds) == words
