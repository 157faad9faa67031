"""`run --dry-run`: the diff of what would be written, the habits of `diff` in its exit code, and not a trace of it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from .rig import Acks, Agent, Control, Nginx, Redis, free_port


def traces(*directories: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every file with its inode, time and content; but for nginx' log and the running agent's own copies."""
    files = (path for directory in directories for path in directory.rglob("*"))
    kept = (path for path in files if path.is_file() and path.suffix not in (".log", ".hms-base"))
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in kept}


def test_it_shows_what_would_change_and_changes_nothing(nginx_agent: Agent, nginx: Nginx, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    before = traces(nginx_agent.conf.parent, nginx.directory)
    result = nginx_agent.run("run", "--dry-run")
    assert result.returncode == 1, result.stderr
    assert f"--- {nginx_agent.conf}\n+++ {nginx_agent.conf}\n" in result.stdout
    assert "-rate_limit_rps: 50   # requests per second and address\n" in result.stdout
    assert "+rate_limit_rps: 200   # requests per second and address\n" in result.stdout
    assert "+    add_header X-RPS-Limit 200 always;\n" in result.stdout
    assert result.stderr == "hms-svc: revision 1, patches in force: 1; 2 of 2 files would change\n"
    assert traces(nginx_agent.conf.parent, nginx.directory) == before
    assert not nginx_agent.state.exists()
    assert control.client is not None
    assert control.client.exists("ack::IACB") == 0
    assert nginx.reloads() == 0


def test_beside_a_running_agent_it_leaves_no_trace(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks
) -> None:
    nginx_agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    nginx_agent.conf.write_text(nginx_agent.conf.read_text().replace("hello", "goodbye"))
    nginx_agent.wait_for("effective", 3)
    acks.wait_active(1)
    reloads, log = nginx.reloads(), nginx_agent.log_path.read_text()
    before = traces(nginx_agent.conf.parent), sorted(nginx_agent.state.iterdir())
    result = nginx_agent.run("run", "--dry-run")
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    assert "nothing would change" in result.stderr
    assert (traces(nginx_agent.conf.parent), sorted(nginx_agent.state.iterdir())) == before
    assert (nginx.reloads(), nginx_agent.log_path.read_text()) == (reloads, log)


def test_an_edit_made_meanwhile_stays_in_the_result(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    agent.stop()
    agent.conf.write_text(agent.conf.read_text().replace("200", "999").replace("hello", "goodbye"))
    result = agent.run("run", "--dry-run")
    assert result.returncode == 1
    assert "-rate_limit_rps: 999" in result.stdout
    assert "+rate_limit_rps: 200" in result.stdout
    assert "hello" not in result.stdout


@pytest.mark.parametrize(("value", "words"), [("none", "invalid rate"), ("1;}", "may hold only")])
def test_what_would_fail_is_said_with_the_tools_words(
    nginx_agent: Agent, nginx: Nginx, control: Control, value: str, words: str
) -> None:
    control.put(1, {"rate_limit_rps": value})
    result = nginx_agent.run("run", "--dry-run")
    assert result.returncode == 3
    assert result.stderr.startswith("hms-svc: would fail: ")
    assert words in result.stderr
    assert not [
        path for path in (*nginx.directory.iterdir(), *nginx_agent.conf.parent.iterdir()) if "hms-" in path.name
    ]


def test_what_failed_here_before_is_held_back_and_named(nginx_agent: Agent, control: Control, acks: Acks) -> None:
    nginx_agent.start()
    control.put(1, {"rate_limit_rps": "none"})
    nginx_agent.wait_for("failed")
    acks.wait_active()
    result = nginx_agent.run("run", "--dry-run")
    assert result.returncode == 0
    assert "held back, for they failed here: 1" in result.stderr


def test_nobody_to_ask(agent: Agent) -> None:
    agent.environment["HMS_REDIS_URL"] = f"redis://:hidden@127.0.0.1:{free_port()}/0"
    result = agent.run("run", "--dry-run")
    assert (result.returncode, result.stdout) == (3, "")
    assert "nobody answered with the stream" in result.stderr
    assert "hidden" not in result.stderr


def test_a_forged_snapshot_is_refused(agent: Agent, control: Control, redis_server: Redis) -> None:
    Control(redis_server.client).put(1, {"rate_limit_rps": 200})  # keys that nobody pinned
    result = agent.run("run", "--dry-run")
    assert (result.returncode, result.stdout) == (3, "")
    assert "would be refused: wrong_signature" in result.stderr
    assert control.revision == 0


def test_an_older_snapshot_than_held_is_refused(agent: Agent, control: Control, acks: Acks) -> None:
    control.put(1, {"rate_limit_rps": 200})
    older = control.snapshot()
    control.put(2, {"greeting": "hey"})
    agent.start()
    acks.wait_active(1, 2)
    agent.stop()
    control.keep(older)
    assert "replayed" in agent.run("run", "--dry-run").stderr


def test_no_stream_yet_and_no_conf_yet(new_agent: Callable[..., Agent]) -> None:
    agent = new_agent()
    assert agent.run("run", "--dry-run").returncode == 0
    agent.conf.unlink()
    result = agent.run("run", "--dry-run")
    assert (result.returncode, "no base yet" in result.stderr) == (3, True)


def test_a_wrong_setting_is_a_usage_error(agent: Agent) -> None:
    assert agent.run("run", "--dry-run", "--version", "nine").returncode == 2


def test_a_journal_it_cannot_read_stays_where_it_is(agent: Agent) -> None:
    agent.state.mkdir()
    journal = agent.state / "journal.json"
    journal.write_text(json.dumps({"format": 99}))
    assert agent.run("run", "--dry-run").returncode == 3
    assert journal.exists()


def test_what_cannot_be_read_or_run_is_named(agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    agent.environment["HMS_CHECK"] = "no-such-tool"
    assert agent.run("run", "--dry-run").stderr == (
        "hms-svc: would fail: cannot run HMS_CHECK: no-such-tool: No such file or directory\n"
    )
    agent.environment["HMS_RENDER"] = f"/nowhere/t:{agent.directory}/t"
    told = agent.run("run", "--dry-run")
    assert (told.returncode, told.stderr) == (3, "hms-svc: cannot tell: /nowhere/t: the template does not exist\n")
    agent.conf.write_text("a: [1\n")
    assert f"cannot tell: {agent.conf}: did not find" in agent.run("run", "--dry-run").stderr
