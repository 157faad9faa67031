"""deploy/redis.conf in a real server: what it reports, what it does to slow clients, and who may do what."""

import os
import re
import resource
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError
from redis.retry import Retry

from tests.conditions import need

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "deploy/redis.conf"
MESSAGE = 256 * 1024
OWN_DESCRIPTORS = 32  # what Redis keeps for itself, beside the clients

need("redis-server")
ONCE = Retry(NoBackoff(), 0)
PLAIN = ("redis-server", str(CONF))
Start = Callable[..., "Server"]


def directives() -> dict[str, str]:
    """Return the settings of the file; a directive that takes a class keeps it in the name."""
    lines = re.findall(r"^(client-output-buffer-limit \w+|[a-z-]+) (.*)$", CONF.read_text(), re.MULTILINE)
    return dict(lines)


class Server:
    """A redis-server, and what it said."""

    def __init__(self, line: list[str], port: int, log: Path) -> None:
        self.port = port
        self.log = log
        with log.open("w") as out:
            self.process = subprocess.Popen(line, stdout=out, stderr=out, cwd=log.parent)

    def client(self, **login: Any) -> Redis:
        return Redis(port=self.port, socket_timeout=10, decode_responses=True, retry=ONCE, **login)

    def config(self, name: str) -> str:
        with self.client() as client:
            return str(client.config_get(name)[name])

    def wait(self) -> None:
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers with the shipped file by a command; only where they listen is changed."""
    running: list[Server] = []

    def begin(*command: str) -> Server:
        port = free_port()
        line = [*(command or PLAIN), "--port", str(port), "--bind", "127.0.0.1"]
        running.append(Server(line, port, tmp_path / f"{port}.log"))
        running[-1].wait()
        return running[-1]

    yield begin
    for server in running:
        server.stop()


def test_the_file_says_what_production_needs() -> None:
    said = directives()
    assert int(said["maxclients"]) >= 20_000
    assert said["save"] == '""'
    assert said["appendonly"] == "no"
    assert said["maxmemory-policy"] == "noeviction"
    assert said["protected-mode"] == "yes"
    assert said["timeout"] == "0"
    assert 0 < int(said["tcp-keepalive"]) <= 300
    assert said["daemonize"] == "no"


def test_a_real_server_reports_the_settings(start: Start) -> None:
    server = start()
    assert server.client().ping()
    assert server.config("timeout") == "0"
    assert server.config("save") == ""
    assert server.config("maxmemory") == str(3 * 1024**3)
    assert server.config("maxmemory-clients") == str(2 * 1024**3)
    limits = server.config("client-output-buffer-limit")
    assert f"pubsub {256 * MESSAGE} {64 * MESSAGE} 60" in limits


def test_maxclients_is_as_set_where_the_machine_allows_it(start: Start) -> None:
    wanted = int(directives()["maxclients"])
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - OWN_DESCRIPTORS)
    reported = int(start().config("maxclients"))
    # A privileged server may raise its own limit, so more than this process is allowed is right as well.
    assert allowed <= reported <= wanted


def test_a_low_file_limit_lowers_maxclients_as_the_docs_say(start: Start) -> None:
    # Root could raise the limit again; an ordinary user, as in a container, cannot.
    ordinary = ["setpriv", "--bounding-set=-sys_resource"] if os.geteuid() == 0 else []
    server = start(*ordinary, "prlimit", "--nofile=1024", *PLAIN)
    assert server.config("maxclients") == str(1024 - OWN_DESCRIPTORS)
    assert "maxclients has been reduced to 992" in server.log.read_text()
    comment = re.sub(r"\s*\n# ", " ", CONF.read_text())
    assert "`nofile` >= 24032" in comment
    assert "lowers maxclients to the limit minus 32" in comment
    assert "nofile" in (ROOT / "deploy/README.md").read_text()


def test_a_subscriber_that_stopped_reading_is_cut_off_and_the_rest_goes_on(start: Start) -> None:
    server = start()
    with socket.create_connection(("127.0.0.1", server.port)) as stuck, server.client() as publisher:
        stuck.sendall(b"SUBSCRIBE cfg::IACB\r\n")
        assert stuck.recv(200)
        message = "x" * MESSAGE
        reached = [publisher.publish("cfg::IACB", message) for _ in range(400)]
        # Kernel buffers take some more than the 256 the limit allows for.
        assert reached[:256] == [1] * 256
        assert reached[-1] == 0
        assert publisher.ping()


@pytest.fixture
def guarded(start: Start, tmp_path: Path) -> Server:
    """The server exactly as the compose file starts it: its script writes the users, then becomes Redis."""
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    script = compose["services"]["redis"]["command"][0].replace("$$", "$")
    script = script.replace("/run/redis", str(tmp_path)).replace("/etc/redis/redis.conf", str(CONF))
    script = script.rstrip() + ' "$@"'
    names = ["TENANT=IACB", "MGT_PASSWORD=for-mgt", "SVC_PASSWORD=for-svc"]
    return start("env", *names, "sh", "-euc", script, "redis")


def test_without_a_login_nothing_works(guarded: Server) -> None:
    with guarded.client() as nobody, pytest.raises(AuthenticationError):
        nobody.ping()
    with guarded.client(username="svc-IACB", password="wrong") as guess, pytest.raises(AuthenticationError):
        guess.ping()


def test_mgt_may_do_its_work_and_nothing_else(guarded: Server) -> None:
    with guarded.client(username="mgt", password="for-mgt") as mgt:
        assert mgt.ping()
        assert mgt.set("cfg-state::IACB::API", "snapshot")
        assert mgt.mget(["cfg-state::IACB::API"]) == ["snapshot"]
        assert mgt.publish("cfg::IACB", "delta") == 0
        assert mgt.xread({"ack::IACB": "0"}) in ([], {})
        for forbidden in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("KEYS", "*"), ("SET", "other", "1")):
            with pytest.raises(NoPermissionError):
                mgt.execute_command(*forbidden)


def test_a_sidecar_reaches_its_tenant_only(guarded: Server) -> None:
    with guarded.client(username="svc-IACB", password="for-svc") as svc:
        assert svc.get("cfg-state::IACB::API") is None
        assert svc.xadd("ack::IACB", {"m": "{}"}, maxlen=10_000, approximate=True)
        listener = svc.pubsub()
        listener.subscribe("cfg::IACB")
        assert listener.get_message(timeout=5)
        listener.close()
        for forbidden in (
            ("GET", "cfg-state::IACB2::API"),
            ("GET", "cfg-state::OTHER::API"),
            ("SET", "cfg-state::IACB::API", "forged"),
            ("XADD", "ack::OTHER", "*", "m", "{}"),
            ("XREAD", "STREAMS", "ack::IACB", "0"),
            ("PUBLISH", "cfg::IACB", "forged"),
            ("SUBSCRIBE", "cfg::OTHER"),
            ("PSUBSCRIBE", "cfg::*"),
            ("FLUSHALL",),
        ):
            with pytest.raises(NoPermissionError):
                svc.execute_command(*forbidden)


def test_a_server_without_users_refuses_the_outside(start: Start) -> None:
    server = start()
    assert server.config("protected-mode") == "yes"
    outside = own_address()
    if outside is None:
        pytest.skip("this machine has no address but loopback")
    with server.client() as local:
        local.config_set("bind", "*")
    stranger = Redis(host=outside, port=server.port, socket_timeout=5)
    with pytest.raises(ResponseError, match="protected mode"):
        stranger.ping()
    stranger.close()


def own_address() -> str | None:
    """Return an address of this machine that is not loopback; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return None
        address = str(probe.getsockname()[0])
    return None if address.startswith("127.") else address
