"""`hms-svc check`: each thing that may be wrong is found, with a hint, and looking leaves nothing behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_svc import check_files, check_network
from hms_svc.check_process import handles
from hms_svc.settings import Settings, read
from hms_svc.wire import key_id
from tests.conditions import lacks

from .rig import Acks, Agent, Control, Nginx, Redis, free_port

NAMES = [
    "conf",
    "state",
    "space",
    "trust",
    "render",
    "process",
    "redis",
    "mgt",
    "check",
    "probe",
    "listen",
    "clock",
]


@pytest.fixture(autouse=True)
def beats(control: Control) -> object:
    """A heartbeat now and then, so that no test waits for one."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            control.send(control.heartbeat())

    thread = threading.Thread(target=beat)
    thread.start()
    yield
    over.set()
    thread.join()


def findings(agent: Agent, *words: str) -> dict[str, tuple[bool, str, str]]:
    result = agent.run("check", "-o", "json", *words)
    told = json.loads(result.stdout)
    assert result.returncode == (0 if told["ok"] else 1)
    return {one["name"]: (one["ok"], one["words"], one["hint"]) for one in told["checks"]}


def failed(agent: Agent) -> dict[str, str]:
    return {name: words for name, (ok, words, _) in findings(agent).items() if not ok}


def test_everything_in_place(nginx_agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    nginx_agent.environment["HMS_LISTEN"] = f"127.0.0.1:{free_port()}"
    result = nginx_agent.run("check")
    assert result.returncode == 0, result.stdout
    assert [line.split()[1] for line in result.stdout.splitlines()] == NAMES
    for words in ("a snapshot is there", "handles SIGHUP", "permits SUBSCRIBE, GET, XADD", "is free", "within 2 s"):
        assert words in result.stdout
    assert key_id(control.gov.verify_key) in result.stdout


def test_it_leaves_nothing_behind_and_disturbs_nobody(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks
) -> None:
    nginx_agent.environment["HMS_LISTEN"] = f"127.0.0.1:{free_port()}"
    nginx_agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    before = {path.name for path in (*nginx_agent.state.iterdir(), *nginx_agent.conf.parent.iterdir())}
    reloads, log = nginx.reloads(), nginx_agent.log_path.read_text()
    assert failed(nginx_agent) == {}
    assert {path.name for path in (*nginx_agent.state.iterdir(), *nginx_agent.conf.parent.iterdir())} == before
    assert (nginx.reloads(), nginx_agent.log_path.read_text()) == (reloads, log)
    assert all(report["instance"] == "artist-1" for report in acks.reports())


def test_it_makes_nothing_where_nothing_is(agent: Agent, redis_server: Redis) -> None:
    assert failed(agent) == {}
    assert not agent.state.exists()
    assert redis_server.client.keys("*") == []


def test_each_thing_that_is_missing(nginx_agent: Agent, nginx: Nginx) -> None:
    nginx.stop()
    nginx_agent.conf.unlink()
    (nginx_agent.directory / "trust.json").write_text("{}")
    dead = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nginx_agent.environment |= {
            "HMS_REDIS_URL": f"redis://:hidden@127.0.0.1:{dead}/0",
            "HMS_MGT_URL": f"http://127.0.0.1:{dead}",
            "HMS_CHECK": "nginx -t -q -c /nowhere",
            "HMS_STATE": "/proc/nowhere",
            "HMS_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}",
        }
        result = nginx_agent.run("check")
    assert result.returncode == 1
    bad = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert bad == [name for name in NAMES if name not in ("space", "clock")]
    assert result.stdout.count("hint:") == len(bad)
    assert "hidden" not in result.stdout


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        ("-subscribe", "SUBSCRIBE cfg::IACB"),
        ("-get", "GET cfg-state::IACB"),
        ("-xadd", "XADD ack::IACB"),
        ("-ping", "PING"),
        ("resetkeys ~cfg-state::IACB::*", "XADD ack::IACB"),
        ("resetkeys ~ack::IACB", "GET cfg-state::IACB"),
        ("resetchannels &cfg::OTHER", "SUBSCRIBE cfg::IACB"),
    ],
)
def test_each_permission_in_redis(agent: Agent, redis_server: Redis, lacking: str, words: str) -> None:
    rule = "on >pw ~cfg-state::IACB::* ~ack::IACB &cfg::IACB -@all +subscribe +get +xadd +ping"
    redis_server.command("ACL", "SETUSER", "svc", *rule.split(), *lacking.split())
    agent.environment["HMS_REDIS_URL"] = f"redis://svc:pw@127.0.0.1:{redis_server.port}/0"
    found = failed(agent)
    assert list(found) == ["redis"]
    assert words in found["redis"]
    assert redis_server.client.keys("*") == []


def test_the_least_permissions_are_enough(agent: Agent, redis_server: Redis) -> None:
    rule = "on >pw %R~cfg-state::IACB::* %W~ack::IACB &cfg::IACB -@all +subscribe +unsubscribe +get +xadd +ping"
    redis_server.command("ACL", "SETUSER", "svc", *rule.split())
    agent.environment["HMS_REDIS_URL"] = f"redis://svc:pw@127.0.0.1:{redis_server.port}/0"
    assert failed(agent) == {}


def test_a_process_that_the_signal_would_end(agent: Agent) -> None:
    with subprocess.Popen(["sleep", "60"]) as deaf:
        (agent.directory / "pid").write_text(str(deaf.pid))
        agent.environment["HMS_PIDFILE"] = str(agent.directory / "pid")
        assert "(sleep) has no handler and would be ended by SIGHUP" in failed(agent)["process"]
        deaf.kill()


@pytest.mark.parametrize(
    ("setup", "verb"),
    [
        ("signal.signal(signal.SIGUSR1, print)", "handles"),
        ("signal.signal(signal.SIGUSR1, signal.SIG_IGN)", "ignores"),
        ("signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])", "handles"),
        ("pass", "has no handler and would be ended by"),
    ],
)
def test_what_a_signal_would_do_is_read_off_the_kernel(setup: str, verb: str) -> None:
    script = f"import signal, sys; {setup}; print(open('/proc/self/status').read())"
    status = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert handles(status, signal.SIGUSR1) == verb


@pytest.mark.skipif(os.geteuid() != 0, reason="owners can be changed as root only")
@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (0o777, "belongs to 4321:4321, and as 65534:65534 that cannot be kept"),
        (0o1777, "belongs to 4321:4321"),
        (0o755, "Permission denied"),
    ],
)
def test_an_owner_that_cannot_be_kept(agent: Agent, mode: int, words: str) -> None:
    """Looked at in a child that is somebody else, in a place that somebody else can reach."""
    with tempfile.TemporaryDirectory() as directory:
        conf = Path(directory) / "conf.yml"
        conf.write_text("a: 1\n")
        os.chown(conf, 4321, 4321)
        Path(directory).chmod(mode)
        agent.environment["HMS_CONF"] = str(conf)
        assert words in as_nobody(read(agent.environment), check_files.conf)


def as_nobody(settings: Settings, look: Callable[[Settings], str]) -> str:
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            told = look(settings)
        except (OSError, check_files.Missing) as error:
            told = str(error)
        os.write(writer, told.encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(pid, 0)
    with os.fdopen(reader) as words:
        return words.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
def test_a_single_mounted_file(agent: Agent) -> None:
    mounted = f'mount --bind {agent.conf} {agent.conf} && exec "$@"'
    agent.wrapper = ["unshare", "--mount", "sh", "-c", mounted, "sh"]
    if subprocess.run([*agent.wrapper, "true"], capture_output=True, check=False).returncode:
        lacks("nothing may be mounted here")
    assert "is a mount of its own" in failed(agent)["conf"]


def test_a_symlink_is_resolved_and_shown(agent: Agent) -> None:
    real = agent.directory / "real.yml"
    agent.conf.rename(real)
    agent.conf.symlink_to(real)
    ok, words, _ = findings(agent)["conf"]
    assert (ok, f"(through {real})" in words) == (True, True)
    assert agent.conf.is_symlink()


def test_a_clock_that_is_off(agent: Agent, control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    late = control.heartbeat(time.time() - 20)
    monkeypatch.setattr(control, "heartbeat", lambda: late)
    time.sleep(0.2)
    words = failed(agent)["clock"]
    assert 19 < float(words.split()[0]) < 22
    assert "ahead of MGT's heartbeat" in words


def test_a_journal_that_the_pinned_keys_did_not_sign(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    agent.stop()
    journal = agent.state / "journal.json"
    record = json.loads(journal.read_text())
    record["patches"][0]["decision"]["signatures"][0]["sig"] = "A" * 86 + "=="
    journal.write_text(json.dumps(record))
    assert "that the pinned keys did not sign" in failed(agent)["state"]
    journal.write_text("{")
    assert "cannot be read" in failed(agent)["state"]
    assert journal.exists()


def test_it_says_what_it_waits_for(agent: Agent) -> None:
    agent.environment["HMS_CHECK"] = "sleep 2.5"
    result = agent.run("check")
    assert result.returncode == 0
    assert "check    still looking" in result.stderr


def test_the_check_command_gets_the_first_rendered_file(nginx_agent: Agent, nginx: Nginx) -> None:
    second = nginx_agent.directory / "second"
    second.write_text("x")
    nginx_agent.environment["HMS_RENDER"] += f",{second}:{nginx_agent.directory / 'second.out'}"
    ok, words, _ = findings(nginx_agent)["check"]
    assert (ok, str(nginx.conf) in words) == (True, True)
    assert not Path(f"{second}.out").exists()


def test_keys_of_another_control_plane(agent: Agent, control: Control) -> None:
    """Everything is there, and every message would be refused: that is no readiness."""
    control.put(1, {"rate_limit_rps": 200})
    (agent.directory / "trust.json").write_text(Control().trust())
    found = failed(agent)
    assert list(found) == ["redis"]
    assert "the snapshot there would be refused: wrong_signature" in found["redis"]
    assert "is HMS_TRUST this control plane's" in found["redis"]


def test_a_state_that_is_a_file(agent: Agent) -> None:
    agent.state.write_text("x")
    found = failed(agent)
    assert list(found) == ["state"]
    assert "Not a directory" in found["state"]


def test_a_state_directory_deep_in_what_does_not_exist_yet(agent: Agent) -> None:
    agent.environment["HMS_STATE"] = str(agent.directory / "a" / "b" / "c")
    assert failed(agent) == {}


def test_each_message_names_the_file_or_the_port(agent: Agent) -> None:
    agent.conf.write_text("a: [1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        agent.environment |= {"HMS_LISTEN": f"127.0.0.1:{port}", "HMS_PIDFILE": "/nowhere/pid"}
        found = failed(agent)
    assert found["conf"].startswith(f"{agent.conf}: ")
    assert found["listen"].startswith(f"127.0.0.1:{port}: ")
    assert "there is no pid file /nowhere/pid" in found["process"]
    assert set(found) == {"conf", "listen", "process"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_looked_at_as_somebody_else(agent: Agent) -> None:
    """Whoever looks is named, and nobody is told to choose another port."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        state = Path(directory) / "state"
        state.mkdir(mode=0o700)
        agent.environment["HMS_STATE"] = str(state)
        settings = read(agent.environment)
        assert "user 65534 cannot make a file in" in as_nobody(settings, check_files.state)
        assert "look as the agent's user" in as_nobody(settings, check_files.trust)
        assert "no port is asked for" in as_nobody(settings, check_network.listen)
