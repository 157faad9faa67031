"""The command line: it teaches, it names what is wrong, and its exit codes mean something."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hms_svc.settings import TABLE

from .rig import INSTANCE, Acks, Agent, Control, Nginx, free_port


def test_help_teaches(agent: Agent) -> None:
    top, run = agent.run("--help"), agent.run("run", "--help")
    assert (top.returncode, run.returncode) == (0, 0)
    assert "exit codes" in top.stdout
    for row in TABLE:
        assert run.stdout.count(f"  {row.env}, {row.flag}\n") == 1


@pytest.mark.parametrize(
    "words", [("--help",), ("run", "--help"), ("check", "-h"), ("status", "--help"), ("help", "run")]
)
def test_help_fits_a_terminal_and_needs_no_setting(agent: Agent, words: tuple[str, ...]) -> None:
    agent.environment = {name: agent.environment[name] for name in ("PATH", "PYTHONPATH")}
    result = agent.run(*words)
    assert (result.returncode, result.stderr) == (0, "")
    assert max(map(len, result.stdout.splitlines())) <= 80
    if len(words) > 1:
        assert "exit 0" in result.stdout


def test_a_mistyped_flag_is_told_the_right_one(agent: Agent) -> None:
    assert "did you mean --redis-url?" in agent.run("run", "--redisurl", "x").stderr
    assert "lists them" in agent.run("run", "--qqqqqqqqqq", "x").stderr
    assert "did you mean --once?" in agent.run("run", "--onec").stderr
    assert "did you mean check?" in agent.run("chek").stderr


def test_a_reader_that_has_gone_is_no_traceback(agent: Agent) -> None:
    agent.wrapper = ["sh", "-c", '"$@" | true', "sh"]
    assert agent.run("run", "--help").stderr == ""


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
        ("HMS_SIGNAL", "_IGN"),
        ("HMS_SIGNAL", "\u00b2"),
        ("HMS_INSTANCE", "\udcff"),
        ("HMS_LISTEN", "\udca6:9108"),
        ("HMS_PROBE_HEADER", "X-Limit: 1"),
        ("HMS_CONFIRM_TIMEOUT", "soon"),
        ("HMS_STATE", "/proc/nowhere"),
        ("HMS_LISTEN", "9108"),
        ("HMS_LISTEN", "somewhere.example:9108"),
        ("HMS_LISTEN", "127.0.0.1:70000"),
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


def test_once_applies_reports_and_leaves(nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks) -> None:
    control.put(1, {"rate_limit_rps": 200})
    result = nginx_agent.run("run", "--once")
    assert result.returncode == 0, result.stderr
    assert result.stdout == "hms-svc: in effect: revision 1, patches 1\n"
    assert not (nginx_agent.state / "status.sock").exists()
    assert nginx.header() == "200"
    assert acks.last()["active"] == [1]
    assert acks.last()["bye"] is False


def test_once_says_when_it_failed(nginx_agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": "none"})
    result = nginx_agent.run("run", "--once")
    assert result.returncode == 1
    assert "patch 1 failed at checked: " in result.stdout
    assert "invalid rate" in result.stdout
    assert result.stdout.endswith("in effect: revision 1, the base without patches\n")


def test_once_that_may_believe_nobody_fails(agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    (agent.directory / "trust.json").write_text(Control().trust())
    result = agent.run("run", "--once")
    assert result.returncode == 1
    assert "what was heard was refused (wrong_signature): is HMS_TRUST this control plane's?" in result.stdout


def test_once_works_where_only_the_journal_is_spoilt_and_the_snapshot_is_not(agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    assert agent.run("run", "--once").returncode == 0
    journal = agent.directory / "state" / "journal.json"
    record = json.loads(journal.read_text())
    record["patches"][0]["decision"]["payload"] = "AAAA"
    journal.write_text(json.dumps(record))
    result = agent.run("run", "--once")
    assert (result.returncode, '"event": "refused"' in result.stderr) == (0, True)
    assert "rate_limit_rps: 200" in agent.conf.read_text()


def test_once_without_anybody_to_ask_fails(agent: Agent) -> None:
    agent.environment["HMS_REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    result = agent.run("run", "--once")
    assert result.returncode == 1
    assert "nobody answered with the stream" in result.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_says_goodbye(agent: Agent, acks: Acks, number: signal.Signals) -> None:
    agent.start()
    acks.wait_active()
    a_second = agent.a_second()
    assert agent._process is not None
    agent._process.send_signal(number)
    since = time.monotonic()
    assert agent._process.wait(10) == 0
    assert time.monotonic() - since < a_second
    last = acks.last()
    assert (last["bye"], last["instance"], last["v"]) == (True, INSTANCE, 1)


def test_two_agents_do_not_share_a_state_directory(agent: Agent, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    result = agent.run("run", "--once")
    assert result.returncode == 2
    assert "HMS_STATE" in result.stderr


def test_a_log_that_nobody_reads_keeps_nothing_from_working(agent: Agent, control: Control, acks: Acks) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    agent._process = subprocess.Popen(
        agent.command("run"), env=agent.environment, stderr=writer, cwd=agent.directory, process_group=0
    )
    os.close(writer)
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200}, end=time.time() + 2)
    acks.wait_active(1)
    for _ in range(30):
        control.send("garbage" * 1000)
    acks.wait_active()
    assert "rate_limit_rps: 50" in agent.conf.read_text()
    os.close(reader)
    assert agent.stop() == 0


def test_every_event_of_the_log_is_in_the_guide() -> None:
    project = Path(__file__).parents[2]
    guide = (project / "docs" / "sidecar.md").read_text()
    source = "".join(path.read_text() for path in (project / "hms_svc").glob("*.py"))
    named = re.findall(r'(?:emit|_say)\(\s*"([a-z_]+)"', source) + re.findall(r'event = "([a-z_]+)"', source)
    assert len(named) > 20
    assert [name for name in named if f"`{name}`" not in guide] == []


BROKEN_SLEEP = """
from hms_svc.__main__ import main
from hms_svc.listener import Listener

def register(self, poll, now):
    raise TypeError("a mistake of ours")

Listener.register = register
main(["run"])
"""


def test_a_mistake_anywhere_in_the_loop_does_not_end_it(agent: Agent, control: Control, acks: Acks) -> None:
    with agent.log_path.open("ab") as log:
        agent._process = subprocess.Popen([sys.executable, "-c", BROKEN_SLEEP], env=agent.environment, stderr=log)
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200}, end=time.time() + 3)
    acks.wait_active(1)
    acks.wait_active()
    assert agent.stop() == 0
    assert len(agent.events("error")) == 1
