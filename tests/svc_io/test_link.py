"""The tie to the control plane breaks in every way it can, and heals."""

import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .proxy import Proxy
from .rig import SERVICE, TENANT, Acks, Agent, Control, Redis, free_port, until


class Mgt(http.server.ThreadingHTTPServer):
    """Fake MGT: serves one snapshot to whoever brings the token."""

    def __init__(self, control: Control) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.control = control
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def settings(self) -> dict[str, str]:
        return {"HMS_MGT_URL": f"http://127.0.0.1:{self.server_port}", "HMS_TOKEN": "hms_secret"}


class Handler(http.server.BaseHTTPRequestHandler):
    server: Mgt

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        known = self.path == f"/api/stream/{TENANT}/{SERVICE}/snapshot" and self.server.control.revision
        if self.headers["Authorization"] != "Bearer hms_secret":
            self.send_error(401)
        elif not known:
            self.send_error(404)
        else:
            body = self.server.control.snapshot().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def mgt(control: Control) -> Iterator[Mgt]:
    server = Mgt(control)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def proxy(redis_server: Redis) -> Iterator[Proxy]:
    between = Proxy(redis_server.port)
    yield between
    between.close()


def test_a_silent_link_is_found_within_three_seconds(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, proxy: Proxy
) -> None:
    agent = new_agent(HMS_REDIS_URL=proxy.url).start()
    acks.wait_active()
    proxy.silent = True
    since = time.monotonic()
    agent.wait_for("unlinked")
    assert time.monotonic() - since < 3
    control.put(1, {"rate_limit_rps": 200})
    proxy.silent = False
    acks.wait_active(1, seconds=5)
    assert "200" in agent.conf.read_text()


def test_redis_killed_and_restarted_empty(agent: Agent, control: Control, acks: Acks, redis_server: Redis) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    edited = agent.conf.read_text()
    redis_server.kill()
    agent.wait_for("unlinked")
    redis_server.start()
    control.client = acks._client = redis_server.client
    agent.wait_for("linked", 2)
    acks.wait_active(1, seconds=5)
    assert agent.conf.read_text() == edited
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)


def test_receipts_wait_for_redis_to_come_back(agent: Agent, control: Control, acks: Acks, redis_server: Redis) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200}, end=time.time() + 1)
    acks.wait_active(1)
    redis_server.kill()
    until(lambda: "200" not in agent.conf.read_text(), "the window's end")
    redis_server.start()
    acks._client = redis_server.client
    until(lambda: "reverted" in acks.receipts(1), "the receipt from the time without Redis", 5)


def test_a_lost_delta_is_made_up_for_by_the_heartbeat(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    snapshot, _ = control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    control.keep(snapshot)
    control.send(control.heartbeat())
    acks.wait_active(1, seconds=2)


def test_a_gap_asks_for_the_snapshot(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    control.step([control.entry(2, {"replicas": 6})], [])
    control.put(3, {"added": True})
    assert acks.wait_active(1, 2, 3, seconds=2)["revision"] == 3


def test_a_missing_snapshot_is_made_up_for_by_mgt(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, mgt: Mgt
) -> None:
    control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    new_agent(**mgt.settings).start()
    acks.wait_active(1)


def test_mgt_alone_is_enough(new_agent: Callable[..., Agent], control: Control, mgt: Mgt) -> None:
    control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    agent = new_agent(**mgt.settings, HMS_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0").start()
    until(lambda: "200" in agent.conf.read_text(), "MGT's snapshot to take effect")


def test_mgt_without_a_stream_is_no_trouble(new_agent: Callable[..., Agent], acks: Acks, mgt: Mgt) -> None:
    agent = new_agent(**mgt.settings).start()
    acks.wait_active()
    until(lambda: mgt.asked, "MGT to be asked")
    assert agent.events("mgt_unreachable") == []


def test_a_password_is_used_and_never_shown(new_agent: Callable[..., Agent], redis_server: Redis, acks: Acks) -> None:
    redis_server.command(
        "ACL", "SETUSER", "agent", "on", ">p@ss/word", "resetchannels", "&cfg::IACB", "-@all",
        "+subscribe", "+ping", "~cfg-state::IACB::*", "~ack::IACB", "+get", "+xadd",
    )  # fmt: skip
    address = f"redis://agent:p%40ss%2Fword@127.0.0.1:{redis_server.port}"
    agent = new_agent(HMS_REDIS_URL=address).start()
    acks.wait_active()
    redis_server.command("ACL", "SETUSER", "agent", ">other", "<p@ss/word")
    redis_server.command("CLIENT", "KILL", "USER", "agent")
    until(lambda: len(agent.events("unlinked")) >= 1, "the link to break")
    log = agent.log_path.read_text() + str(acks.reports())
    assert "p@ss" not in log
    assert "p%40ss" not in log
    assert agent.running()


def test_a_unix_socket_will_do(new_agent: Callable[..., Agent], redis_server: Redis) -> None:
    path = redis_server._directory / "redis.sock"
    other = Redis(redis_server._directory / "unix", "--unixsocket", str(path))
    try:
        new_agent(HMS_REDIS_URL=f"unix://{path}").start()
        Acks(other.client).wait_active()
    finally:
        other.kill()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_tls_is_verified(new_agent: Callable[..., Agent], redis_server: Redis, tmp_path: Path, acks: Acks) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    request = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*request, *subject, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    port = free_port()
    for name, value in (("cert-file", certificate), ("key-file", key), ("auth-clients", "no"), ("port", port)):
        redis_server.client.config_set(f"tls-{name}", str(value))
    stranger = new_agent(HMS_REDIS_URL=f"rediss://localhost:{port}").start()
    assert "certificate" in stranger.wait_for("unlinked")[0]["detail"]
    new_agent(HMS_REDIS_URL=f"rediss://localhost:{port}", SSL_CERT_FILE=str(certificate)).start()
    acks.wait_active()


def test_a_name_that_does_not_resolve_holds_nothing_up(new_agent: Callable[..., Agent]) -> None:
    agent = new_agent(HMS_REDIS_URL="redis://redis.invalid:6379")
    agent.conf.write_text("a: 1\n")
    agent.start()
    agent.wait_for("effective")
    agent.wait_for("unlinked")
    assert agent.stop() == 0
