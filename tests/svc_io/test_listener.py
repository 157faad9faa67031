"""The port: what it answers, and that nothing done to it costs a window its end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hms_svc.health import livez
from hms_svc.http_server import MOST_VISITORS, PAUSE_SECONDS, VISIT_SECONDS, HttpServer
from hms_svc.metrics import text
from tests.conditions import THOROUGH

from .requests import request
from .rig import Acks, Agent, Control, Nginx, Redis, free_port, readable, until

FLOOD = 10_000 if THOROUGH else 1_000
REQUESTS = 300_000 if THOROUGH else 1_500
STATUS = re.compile(rb"HTTP/1\.1 (200|400|404|405|431|503) ")


@pytest.fixture
def port(agent: Agent) -> int:
    found = free_port()
    agent.environment["HMS_LISTEN"] = f"127.0.0.1:{found}"
    return found


def ask(port: int, request: bytes | str, timeout: float = 3.0) -> tuple[int, str]:
    """Status and body; status 0 when nothing comes."""
    raw = request if isinstance(request, bytes) else f"GET {request} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as sock:
            sock.sendall(raw)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
    except OSError:
        return 0, ""
    head, _, body = answer.partition(b"\r\n\r\n")
    return (int(head.split()[1]) if head else 0), body.decode()


def parsed(page: str) -> dict[str, float]:
    """By hand what promtool checks: HELP and TYPE before each family, one family in one place, names and numbers."""
    found: dict[str, float] = {}
    families: list[str] = []
    lines = page.split("\n")
    assert lines.pop() == ""
    for line in lines:
        if line.startswith("# HELP "):
            families.append(line.split()[2])
        elif line.startswith("# TYPE "):
            assert line.split()[2] == families[-1]
            assert line.split()[3] in ("gauge", "counter")
            assert (line.split()[3] == "counter") == families[-1].endswith("_total")
        else:
            match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\]|\\.)*",?)+\})? (-?[0-9.e+-]+)', line)
            assert match, line
            assert match[1] == families[-1]
            found[match[1] + (match[2] or "")] = float(match[3])
    assert len(set(families)) == len(families)
    assert all(name.startswith("hms_svc_") for name in families)
    return found


def test_it_answers_each_path(agent: Agent, port: int, control: Control, acks: Acks) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 987_654_321})
    acks.wait_active(1)
    assert ask(port, "/livez") == (200, "alive\n")
    assert ask(port, "/readyz?verbose") == (200, "ready: steady\n")
    status, page = ask(port, "/metrics")
    metrics = parsed(page)
    assert status == 200
    assert metrics["hms_svc_revision"] == metrics["hms_svc_head"] == metrics["hms_svc_link_up"] == 1
    assert metrics["hms_svc_patches_active"] == 1
    assert metrics['hms_svc_phase{phase="steady"}'] == 1
    assert metrics['hms_svc_attempts_total{end="effective"}'] >= 1
    assert metrics['hms_svc_receipts_total{stage="effective"}'] == 1
    assert abs(metrics["hms_svc_process_start_time_seconds"] - time.time()) < 120
    assert 8e6 < metrics["hms_svc_resident_memory_bytes"] < 40e6
    assert "987654321" not in page, "longer than any figure of the page can be"
    assert ask(port, "/status")[0] == 404  # for the local user only
    assert ask(port, "/")[0] == 404


def test_what_was_refused_and_failed_is_counted(agent: Agent, port: int, control: Control, acks: Acks) -> None:
    agent.environment["HMS_CHECK"] = "grep -q rate_limit_rps:.50 {conf}"
    agent.start()
    acks.wait_active()
    control.send("garbage")
    control.put(1, {"rate_limit_rps": 1})
    until(lambda: acks.last().get("phase") == "failed" and acks.last()["refused"], "a refusal and a failure")
    metrics = parsed(ask(port, "/metrics")[1])
    assert metrics['hms_svc_refused_total{reason="malformed"}'] == 1
    assert metrics['hms_svc_attempts_total{end="checked"}'] >= 1
    assert metrics['hms_svc_receipts_total{stage="failed"}'] == 1
    assert metrics["hms_svc_patches_failed"] == metrics['hms_svc_phase{phase="failed"}'] == 1
    assert ask(port, "/readyz") == (200, "ready: failed\n")


def test_labels_cannot_break_out() -> None:
    view: dict[str, Any] = dict.fromkeys(
        ("revision", "head", "link_up", "stale", "word_age_seconds", "in_effect", "held", "reconnects"), 0
    )
    view |= {"service": 'a"b', "version": "1\\", "instance": "x\ny", "phase": "steady", "last_apply_seconds": None}
    view |= {"active": [], "failed": [], "drift": [], "attempts": {}, "receipts": {}, "refused": {}, "clock": {}}
    page = text(view)
    assert 'service="a\\"b",version="1\\\\",instance="x\\ny"' in page
    parsed(page)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"POST /livez HTTP/1.1\r\n\r\n", 405),
        (b"GET /livez\r\n\r\n", 400),
        (b"\x00\xff\x80\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),
        (b"GET /livez HTTP/1.1\r\nX: " + b"x" * 5000, 431),
        (b"GET /livez HTTP/1.1\n\n", 200),
    ],
)
def test_requests_of_every_kind(agent: Agent, port: int, acks: Acks, request_: bytes, status: int) -> None:
    agent.start()
    acks.wait_active()
    assert ask(port, request_)[0] == status
    assert ask(port, "/livez")[0] == 200


def test_head_is_answered_without_a_body(agent: Agent, port: int, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    assert ask(port, b"HEAD /metrics HTTP/1.1\r\n\r\n") == (200, "")


def test_a_half_closed_visitor_still_gets_its_answer(agent: Agent, port: int, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    with socket.create_connection(("127.0.0.1", port), 3) as sock:
        sock.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert b"200 OK" in sock.recv(4096)
    with socket.create_connection(("127.0.0.1", port), 3) as sock:
        sock.sendall(b"GET /liv")
        sock.shutdown(socket.SHUT_WR)
        assert sock.recv(4096) == b""


def test_slow_visitors_are_let_go_and_keep_nobody_out(agent: Agent, port: int, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    before = descriptors(agent)
    with ExitStack() as stack:
        slow = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 5)) for _ in range(24)]
        for sock in slow:
            sock.sendall(b"GET /livez HT")
        since = time.monotonic()
        assert ask(port, "/livez")[0] == 200
        assert time.monotonic() - since < agent.a_second()
        assert descriptors(agent) <= before + MOST_VISITORS
        for sock in slow:
            with suppress(ConnectionResetError):
                assert sock.recv(100) == b""
        assert time.monotonic() - since < 4
    until(lambda: descriptors(agent) <= before, "all of them to be gone")


def test_a_window_ends_on_time_in_a_flood(agent: Agent, port: int, control: Control, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    before, a_second = descriptors(agent), agent.a_second()
    end = time.time() + 2 * a_second
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    gone, sent = 0.0, 0
    with ExitStack() as stack:
        while (sent < FLOOD or not gone) and time.time() < end + 20:
            stack.enter_context(visit(port, sent))
            sent += 1
            if sent % 200 == 0:
                stack.close()
            if not gone and "rate_limit_rps: 50" in agent.conf.read_text():
                gone = time.time()
    assert sent >= FLOOD
    assert 0 <= gone - end < a_second
    until(lambda: ask(port, "/livez")[0] == 200, "an answer after the flood")
    until(lambda: descriptors(agent) <= before, "the flood's descriptors to be gone")
    assert agent.events("error") == []


@pytest.mark.timeout(900)
def test_mutated_requests_end_nothing_and_leave_nothing(agent: Agent, port: int, control: Control, acks: Acks) -> None:
    """To the port and to the socket inside, with windows that end meanwhile."""
    agent.environment["HMS_BAKE"] = "600"
    agent.start()
    acks.wait_active()
    for seed in range(100):  # what is loaded and grown by the first ones is not counted
        converse(agent, port, seed)
    before, memory = settled(agent), resident(agent)
    answers: Counter[str] = Counter()
    over = threading.Event()
    with ThreadPoolExecutor(1) as beside:
        windows = beside.submit(end_windows, agent, control, over)
        try:
            with ThreadPoolExecutor(MOST_VISITORS) as visitors:
                answers.update(visitors.map(lambda seed: converse(agent, port, seed), range(REQUESTS)))
        finally:
            over.set()
        late = windows.result()
    sys.stdout.write(f"{REQUESTS} requests: {dict(answers.most_common())}; windows late by {late}\n")
    assert answers["200"] > 0
    assert answers["400"] > 0
    assert answers["431"] > 0
    assert max(late) < agent.a_second()
    assert settled(agent) <= before
    assert resident(agent) - memory < 2 * 1024 * 1024
    assert agent.events("error") == []
    assert ask(port, "/livez") == (200, "alive\n")


def end_windows(agent: Agent, control: Control, over: threading.Event) -> list[float]:
    """One window after the other, one at least, and by how much each was late."""
    late: list[float] = []
    for number in count(1):
        end = time.time() + 1.5 * agent.a_second()
        control.publish([control.entry(number, {"rate_limit_rps": 60}, end=end)], [number - 1][number == 1 :])
        until(lambda: "rate_limit_rps: 60" in agent.conf.read_text(), "the patch")
        until(lambda: "rate_limit_rps: 50" in agent.conf.read_text(), "its end")
        late.append(round(time.time() - end, 3))
        if over.is_set():
            break
    return late


def converse(agent: Agent, port: int, seed: int) -> str:
    """One mutated visit; the status of the answer, or how it ended."""
    rng = Random(seed)  # noqa: S311 - to be drawn again, not to be secret
    words = request(rng)
    with socket.socket(socket.AF_UNIX) if seed % 4 == 0 else socket.socket() as sock:
        sock.settimeout(5)
        try:
            sock.connect(str(agent.state / "status.sock") if seed % 4 == 0 else ("127.0.0.1", port))
            sock.sendall(words)
            if rng.random() < 0.1:
                return "gone"
            sock.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: sock.recv(65536), b""))
        except TimeoutError:
            raise
        except OSError:
            return "reset"
    assert not answer or STATUS.match(answer), f"seed {seed}: {answer[:100]!r}"
    return answer[9:12].decode() or "silence"


def settled(agent: Agent) -> int:
    """The descriptors once all visitors are gone."""
    time.sleep(VISIT_SECONDS + 0.5)
    return descriptors(agent)


def resident(agent: Agent) -> int:
    return int(Path(f"/proc/{agent.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def visit(port: int, number: int) -> socket.socket:
    """One of a flood: silent, garbled, or asking and not waiting for the answer."""
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex(("127.0.0.1", port))
    try:
        sock.send((b"", b"\xff" * 5000, b"GET /metrics HTTP/1.1\r\n\r\n")[number % 3])
    except OSError:
        return sock  # the kernel keeps those out for whom there is no room
    return sock


def test_a_stuck_loop_does_not_answer(agent: Agent, port: int, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    os.kill(agent.pid, signal.SIGSTOP)
    try:
        assert ask(port, "/livez", timeout=1)[0] == 0
    finally:
        os.kill(agent.pid, signal.SIGCONT)
    assert ask(port, "/livez")[0] == 200


def test_not_ready_before_the_service_was_seen(new_agent: Callable[..., Agent], nginx: Nginx, acks: Acks) -> None:
    nginx.stop()
    found = free_port()
    agent = new_agent(**nginx.settings(), HMS_LISTEN=f"127.0.0.1:{found}").start()
    until(lambda: ask(found, "/livez")[0] == 200, "life")
    status, words = ask(found, "/readyz")
    assert (status, words.startswith("not ready: ")) == (503, True)
    nginx.start()
    until(lambda: ask(found, "/readyz")[0] == 200, "readiness")
    assert agent.running()
    assert acks.last()


def test_staleness_takes_nobody_out_of_service(agent: Agent, port: int, redis_server: Redis, acks: Acks) -> None:
    """With Redis gone; that 30 s of it are STALE is the clock's affair, here it is the answer that counts."""
    agent.start()
    acks.wait_active()
    redis_server.kill()
    until(lambda: parsed(ask(port, "/metrics")[1])["hms_svc_link_up"] == 0, "the link to be down")
    assert ask(port, "/readyz")[0] == 200
    redis_server.start()


def test_a_taken_port_is_said_once_and_keeps_nothing_from_working(agent: Agent, port: int, acks: Acks) -> None:
    with socket.create_server(("127.0.0.1", port)):
        agent.start()
        acks.wait_active()
        (said,) = agent.wait_for("not_listening")
        assert str(port) in said["detail"]
        assert agent.run("status", "--live").returncode == 0
    until(lambda: ask(port, "/livez")[0] == 200, "the port, once it is free", 12)
    assert len(agent.events("not_listening")) == 1


def test_without_the_setting_no_port_is_open(agent: Agent, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    inodes = {str(link.readlink()) for link in Path(f"/proc/{agent.pid}/fd").iterdir()}
    listening = [line.split()[9] for line in Path("/proc/net/tcp").read_text().splitlines() if " 0A " in line]
    assert not {f"socket:[{inode}]" for inode in listening} & inodes


def test_the_agent_loads_nothing_of_this_before_somebody_asks(agent: Agent) -> None:
    loaded = "import sys, hms_svc.__main__, hms_svc.startup, hms_svc.agent; print(*sys.modules)"
    agent.wrapper = []
    result = subprocess.run(
        [sys.executable, "-c", loaded], env=agent.environment, capture_output=True, text=True, check=True
    )
    modules = set(result.stdout.split())
    mine = {
        "check",
        "dry_run",
        "health",
        "http_server",
        "metrics",
        "status",
        "status_client",
        "status_text",
        "status_view",
    }
    assert "hms_svc.listener" in modules
    assert not modules & {f"hms_svc.{name}" for name in (*mine, "usage")}
    assert not modules & {"argparse", "calendar", "contextlib.contextmanager", "difflib", "shutil", "textwrap", "ssl"}


def test_the_socket_is_for_its_owner_however_long_its_path(new_agent: Callable[..., Agent], acks: Acks) -> None:
    agent = new_agent()
    agent.state = agent.directory / ("s" * 120)
    agent.environment["HMS_STATE"] = str(agent.state)
    agent.start()
    acks.wait_active()
    assert json.loads(agent.run("status", "-o", "json").stdout)["running"] is True
    assert (agent.state / "status.sock").stat().st_mode & 0o777 == 0o600


def descriptors(agent: Agent) -> int:
    return len(list(Path(f"/proc/{agent.pid}/fd").iterdir()))


def test_a_loop_whose_turns_all_fail_says_so() -> None:
    assert livez({"failing_seconds": 9.9}).status == 200
    assert livez({"failing_seconds": 10.1}).status == 503


def test_a_mistake_in_telling_is_an_answer_and_not_an_error_of_the_loop() -> None:
    def broken(_each: bool) -> dict[str, Any]:  # noqa: FBT001 - as the agent's own
        raise KeyError("a mistake of ours")

    server = HttpServer()
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as asking:
        door.setblocking(False)
        asking.sendall(b"GET /livez HTTP/1.1\r\n\r\n")
        until(lambda: readable(door), "the visitor to arrive")
        server.serve([door], [], 1.0, broken, None)
        assert asking.recv(4096).startswith(b"HTTP/1.1 500 ")
        assert server.wake_at() == 1.0 + PAUSE_SECONDS
        assert not server.takes(1.0)  # a flood is let in by portions
        assert server.takes(1.0 + PAUSE_SECONDS)


def test_visitors_come_in_one_at_a_time_where_descriptors_are_scarce() -> None:
    server = HttpServer()
    before = len(list(Path("/proc/self/fd").iterdir()))
    with socket.create_server(("127.0.0.1", 0)) as door, ExitStack() as stack:
        door.setblocking(False)
        asking = [stack.enter_context(socket.create_connection(door.getsockname())) for _ in range(4)]
        until(lambda: readable(door), "the visitors to arrive")
        for turn in range(4):
            server.serve([door], [], float(turn), lambda _each: {}, None, scarce=True)
            assert len(list(Path("/proc/self/fd").iterdir())) == before + 1 + len(asking) + 1
        server.serve([], [], 99.0, lambda _each: {}, None)
        assert all(sock.recv(1) == b"" for sock in asking)


def test_an_answer_larger_than_the_socket_takes_goes_out_in_pieces() -> None:
    view = {"patches": ["x" * 1000] * 20_000}
    server = HttpServer()
    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()) as asking:
        door.setblocking(False)
        asking.sendall(b"GET /status HTTP/1.1\r\n\r\n")
        until(lambda: readable(door), "the visitor to arrive")
        server.serve([door], [], 1.0, lambda _each: view, door)
        received, turns = b"", 0
        while chunk := asking.recv(1 << 20):
            received, turns = received + chunk, turns + 1
            server.serve([], range(1000), 1.1, lambda _each: view, door)
    assert json.loads(received.partition(b"\r\n\r\n")[2]) == view
    assert turns > 1
    assert server.wake_at() == float("inf")
