"""The tie to the control plane breaks in every way it can, and heals."""

import http.server
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from hms_mgt.bus import acl_rule
from hms_svc.address import redis_address
from hms_svc.connection import connect
from hms_svc.resp import RedisError

from .fake_redis import FakeRedis
from .rig import SERVICE, TENANT, Acks, Agent, Control, Redis, free_port, until


class Mgt(http.server.ThreadingHTTPServer):
    """Fake MGT: serves one snapshot to whoever brings the token."""

    def __init__(self, control: Control, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
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
    acks.wait_active()
    end = time.time() + 2 * agent.a_second()  # one small change and its report fit into that
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    redis_server.kill()
    assert time.time() < end, "the machine is too slow for this test's window"
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


def _own_user(redis_server: Redis, password: str = "p@ss/word") -> str:
    """Nobody gets in without a password any more, and the tenant's agents may what MGT's rule says. The agent's URL."""
    rule = acl_rule(TENANT).split()
    redis_server.command("ACL", "SETUSER", *rule[1:], f">{password}")
    return f"redis://{rule[1]}:{quote(password, safe='')}@127.0.0.1:{redis_server.port}"


def test_the_rule_that_mgt_prints_is_enough(
    new_agent: Callable[..., Agent], redis_server: Redis, control: Control, acks: Acks
) -> None:
    agent = new_agent(HMS_REDIS_URL=_own_user(redis_server)).start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    assert agent.events("redis_refused") == []


def test_a_password_that_changes_is_said_and_never_shown(
    new_agent: Callable[..., Agent], redis_server: Redis, acks: Acks
) -> None:
    agent = new_agent(HMS_REDIS_URL=_own_user(redis_server)).start()
    acks.wait_active()
    user = f"sidecar-{TENANT}"
    redis_server.command("ACL", "SETUSER", user, ">other", "<p@ss/word")
    redis_server.command("CLIENT", "KILL", "USER", user)
    until(lambda: "WRONGPASS" in str(agent.events("unlinked")), "the refusal")
    assert "refuses the user or the password of HMS_REDIS_URL" in agent.events("unlinked")[-1]["detail"]
    log = agent.log_path.read_text() + str(acks.reports())
    assert "p@ss" not in log
    assert "p%40ss" not in log
    redis_server.command("ACL", "SETUSER", user, ">p@ss/word")
    agent.wait_for("linked", 2)


def test_what_a_user_may_not_is_named(new_agent: Callable[..., Agent], redis_server: Redis) -> None:
    url = _own_user(redis_server)
    redis_server.command("ACL", "SETUSER", f"sidecar-{TENANT}", "-xadd", "resetkeys", "%W~ack::IACB")
    agent = new_agent(HMS_REDIS_URL=url).start()
    until(lambda: len({event["command"] for event in agent.events("redis_refused")}) == 2, "both refusals")
    said = "".join(event["detail"] for event in agent.events("redis_refused"))
    assert f"may not XADD ack::{TENANT} (NOPERM)" in said
    assert f"may not GET cfg-state::{TENANT}::{SERVICE} (NOPERM)" in said
    assert "hms-mgt redis-acl" in said
    stranger = new_agent(HMS_REDIS_URL=url).run("run", "--once")
    assert stranger.returncode == 1  # nobody told it what is wanted
    redis_server.command("ACL", "SETUSER", "default", ">word")
    nobody = new_agent().start()
    assert "NOAUTH" in nobody.wait_for("unlinked")[0]["detail"]


def test_a_server_that_repeats_the_password_is_not_repeated(new_agent: Callable[..., Agent]) -> None:
    """As one does that knows no AUTH: it quotes what follows an unknown command."""
    fake = FakeRedis()
    fake.answers["AUTH"] = b"-ERR unknown command 'AUTH', with args beginning with: 'me' 'p@ssword'\r\n"
    url = f"redis://me:p%40ssword@127.0.0.1:{fake.port}"
    with pytest.raises(RedisError) as refused:
        connect(redis_address("X", url))
    assert "p@ss" not in str(refused.value)
    agent = new_agent(HMS_REDIS_URL=url).start()
    agent.wait_for("unlinked")
    fake.answers = {"GET": b"-ERR p@ssword\r\n", "XADD": b"-ERR p@ssword\r\n"}
    agent.wait_for("redis_refused")
    fake.send(b"-ERR p@ssword\r\n")
    agent.wait_for("unlinked", 2)
    fake.close()
    assert "p@ssword" not in agent.log_path.read_text()


def test_a_unix_socket_will_do(new_agent: Callable[..., Agent], redis_server: Redis) -> None:
    path = redis_server._directory / "redis.sock"
    other = Redis(redis_server._directory / "unix", "--unixsocket", str(path))
    try:
        new_agent(HMS_REDIS_URL=f"unix://{path}").start()
        Acks(other.client).wait_active()
    finally:
        other.kill()


def test_a_name_that_does_not_resolve_holds_nothing_up(new_agent: Callable[..., Agent]) -> None:
    agent = new_agent(HMS_REDIS_URL="redis://redis.invalid:6379")
    agent.conf.write_text("a: 1\n")
    agent.start()
    agent.wait_for("effective")
    agent.wait_for("unlinked")
    assert agent.stop() == 0
