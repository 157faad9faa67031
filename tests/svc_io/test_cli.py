"""The command line: it teaches, it names what is wrong, and its exit codes mean something."""

import signal
import time

import pytest

from hms_svc.settings import TABLE

from .rig import INSTANCE, Acks, Agent, Control, Nginx, free_port, until


def test_help_teaches(agent: Agent) -> None:
    top, run = agent.run("--help"), agent.run("run", "--help")
    assert (top.returncode, run.returncode) == (0, 0)
    assert "exit codes" in top.stdout
    for row in TABLE:
        assert row.env in run.stdout
        assert row.flag in run.stdout


def test_no_command_is_a_usage_error_with_the_help(agent: Agent) -> None:
    nothing, unknown = agent.run(), agent.run("fly")
    assert (nothing.returncode, unknown.returncode) == (2, 2)
    assert "usage" in nothing.stdout
    assert "fly" in unknown.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TENANT", ""),
        ("TENANT", "t*"),
        ("HMS_SERVICE", "a::b"),
        ("HMS_VERSION", "latest"),
        ("HMS_TRUST", "/nowhere/trust.json"),
        ("HMS_REDIS_URL", "http://me:secret@redis"),
        ("HMS_REDIS_URL", "redis://me:secret@redis:port"),
        ("HMS_MGT_URL", "mgt:8080"),
        ("HMS_RENDER", "only-one-path"),
        ("HMS_CHECK", "nginx -t 'open"),
        ("HMS_SIGNAL", "KILL"),
        ("HMS_SIGNAL", "WHATEVER"),
        ("HMS_PROBE_HEADER", "X-Limit: 1"),
        ("HMS_CONFIRM_TIMEOUT", "soon"),
        ("HMS_STATE", "/proc/nowhere"),
    ],
)
def test_a_bad_setting_is_one_line_that_names_it(agent: Agent, name: str, value: str) -> None:
    agent.environment[name] = value
    result = agent.run("run", "--once")
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert name in line
    assert "secret" not in line


def test_a_flag_wins_over_its_variable(agent: Agent) -> None:
    assert "HMS_VERSION='nine'" in agent.run("run", "--version=nine").stderr
    assert "HMS_VERSION='ten'" in agent.run("run", "--version", "ten").stderr
    assert "--nonsense" in agent.run("run", "--nonsense", "1").stderr


def test_check_finds_everything_in_place(nginx_agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    result = nginx_agent.run("check")
    assert result.returncode == 0, result.stdout
    names = [line.split()[1] for line in result.stdout.splitlines()]
    assert names == ["conf", "state", "trust", "render", "process", "redis", "mgt", "check", "probe"]
    assert "a snapshot is there" in result.stdout


def test_check_names_each_thing_that_is_missing(nginx_agent: Agent, nginx: Nginx) -> None:
    nginx.stop()
    nginx_agent.conf.unlink()
    (nginx_agent.directory / "trust.json").write_text("{}")
    dead = free_port()
    nginx_agent.environment |= {
        "HMS_REDIS_URL": f"redis://:hidden@127.0.0.1:{dead}/0",
        "HMS_MGT_URL": f"http://127.0.0.1:{dead}",
        "HMS_CHECK": "nginx -t -q -c /nowhere",
        "HMS_STATE": "/proc/nowhere",
    }
    result = nginx_agent.run("check")
    assert result.returncode == 1
    failed = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert failed == ["conf", "state", "trust", "render", "process", "redis", "mgt", "check", "probe"]
    assert result.stdout.count("hint:") == len(failed)
    assert "hidden" not in result.stdout


def test_once_applies_reports_and_leaves(nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks) -> None:
    control.put(1, {"rate_limit_rps": 200})
    result = nginx_agent.run("run", "--once")
    assert result.returncode == 0, result.stderr
    assert nginx.header() == "200"
    assert acks.last()["active"] == [1]
    assert acks.last()["bye"] is False


def test_once_says_when_it_failed(nginx_agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": "none"})
    assert nginx_agent.run("run", "--once").returncode == 1


def test_once_without_anybody_to_ask_fails(agent: Agent) -> None:
    agent.environment["HMS_REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    assert agent.run("run", "--once").returncode == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_says_goodbye(agent: Agent, acks: Acks, number: signal.Signals) -> None:
    agent.start()
    acks.wait_active()
    assert agent._process is not None
    agent._process.send_signal(number)
    since = time.monotonic()
    assert agent._process.wait(10) == 0
    assert time.monotonic() - since < 1
    last = acks.last()
    assert (last["bye"], last["instance"], last["v"]) == (True, INSTANCE, 1)


def test_two_agents_do_not_share_a_state_directory(agent: Agent, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    result = agent.run("run", "--once")
    assert result.returncode == 2
    assert "HMS_STATE" in result.stderr


def test_it_sleeps_when_nothing_happens(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    before = wakes(agent.pid), agent.log_path.read_text()
    since = time.monotonic()
    until(lambda: time.monotonic() - since > 2, "two seconds of nothing")
    assert wakes(agent.pid) - before[0] < 20
    assert agent.log_path.read_text() == before[1]


def wakes(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - not a file one keeps
        found = next(line for line in status if line.startswith("voluntary_ctxt_switches"))
    return int(found.split()[1])


def test_it_stays_small(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    with open(f"/proc/{agent.pid}/smaps_rollup") as rollup:  # noqa: PTH123 - not a file one keeps
        resident = next(int(line.split()[1]) for line in rollup if line.startswith("Rss"))
    assert resident < 21 * 1024
