"""Everything at once: patches, rollbacks, kills, edits and broken tools at random, and what must hold in between.

A seeded run of 20 s, of `HMS_CHAOS_SECONDS`, or of 8 minutes with HMS_THOROUGH=1. What is expected comes from the
patches sent and the edits made alone. Each patch brings a key of its own besides those it fights for, so a look at a
file says which patches are in it.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import yaml

from tests.conditions import THOROUGH

from .rig import Agent, Control, Redis, free_port, until

SECONDS = float(os.environ.get("HMS_CHAOS_SECONDS", "480" if THOROUGH else "20"))
SEED = int(os.environ.get("HMS_CHAOS_SEED", "4"))
STORM_SECONDS = 5.0
QUIET_SECONDS = 2.0
SETTLED_SECONDS = 15.0  # a check that failed for 3 s is asked again 4 s later, Redis is dialled again within a second
DROPPED_SECONDS = 3.0
MOST_LATE_SECONDS = 1.0

BASE = """\
# Limits of the registry
limits: {rps: 10, burst: 20}   # together
upstream:
  # nearest first
  hosts: [a, b]
  retry: {count: 2, wait: 0.5}
log: "info"
"""

SERVED = """\
import hashlib, http.server, os, pathlib, signal, sys, time
conf, home, port = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
sha = ""
def load(*_):
    global sha
    raw = conf.read_bytes()
    sha = hashlib.sha256(raw).hexdigest()
    with (home / "loads").open("ab") as log:
        log.write(f"{time.time()} {' '.join(w.decode()[:-1] for w in raw.split() if w[:5] == b'mark_')}\\n".encode())
    (home / "new").write_bytes(raw)
    (home / "new").rename(home / "loaded")
signal.signal(signal.SIGHUP, load)
load()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if (home / "broken").exists() else 200)
        self.send_header("X-Conf", "?" if (home / "broken").exists() else sha)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", port), Page)
(home / "pid").write_text(str(os.getpid()))
server.serve_forever()
"""

PATHS = ("limits.rps", "limits.burst", "upstream.retry.count", "upstream.retry", "log", "extra.a")
MARK = re.compile(rb"\bmark_(\d+):")


class Sent(NamedTuple):
    """A patch as it was sent."""

    id: int
    changes: dict[str, Any]
    priority: int
    start: float
    end: float


class World:
    """The agent, what it serves and whom it hears, and what happens to them."""

    def __init__(self, directory: Path, server: Redis, agent: Agent, control: Control) -> None:
        self.dice = random.Random(SEED)  # noqa: S311 - the same storm again for the same seed
        self.redis, self.agent, self.control, self.home = server, agent, control, directory
        self.port = int(agent.environment["HMS_PROBE_URL"].rpartition(":")[2].strip("/"))
        self.sent: dict[int, Sent] = {}  # not ended by anybody but its window
        self.edits: dict[str, int] = {}
        self.number = 0
        self.edited = 0
        self.edited_at = 0.0
        self.alive_since = 0.0  # since when the agent could act; 0 while it cannot
        self.did: dict[str, int] = {}
        self.lock = threading.Lock()  # the sender and the heart share the keys and the revision
        self.redis_up = True
        self.serve()

    # --- the served process

    def serve(self) -> None:
        words = [str(self.agent.conf), str(self.home), str(self.port)]
        self.process = subprocess.Popen([sys.executable, "-c", SERVED, *words])

    def stop_serving(self) -> None:
        self.process.kill()
        self.process.wait()

    # --- the control plane

    def tell(self, put: list[dict[str, Any]], ended: list[int]) -> None:
        """As MGT: what Redis does not take now is there once it answers again."""
        with self.lock:
            snapshot, delta = self.control.step(put, ended)
            with contextlib.suppress(redis.RedisError):
                if self.dice.random() < 0.9:
                    self.control.keep(snapshot)
                if self.dice.random() < 0.9:
                    self.control.send(delta)

    def beat(self) -> None:
        with self.lock, contextlib.suppress(redis.RedisError):
            self.control.keep(self.control.snapshot())
            self.control.send(self.control.heartbeat())

    # --- what happens

    def patch(self) -> None:
        self.number += 1
        number, now, dice = self.number, time.time(), self.dice
        start = now + dice.choice([-1.0, -1.0, 0.5, dice.uniform(0, 3)])
        end = max(start, now) + dice.choice([dice.uniform(1, 4), dice.uniform(1, 20)])
        changes: dict[str, Any] = {f"mark_{number}": number}
        for path in dice.sample(PATHS, 2):
            here = changes
            *above, last = path.split(".")
            for name in above:
                here = here.setdefault(name, {})
                if not isinstance(here, dict):
                    break
            else:
                here[last] = dice.choice([number, number, [number], f"p {number}: #x", None])
        sent = Sent(number, changes, dice.choice([0, 0, 0, 5, 9]), start, end)
        item = self.control.entry(number, changes, priority=sent.priority, start=start, end=end)
        self.sent[number] = sent
        self.tell([item], [])

    def burst(self) -> None:
        for _ in range(4):
            self.patch()

    def rollback(self) -> None:
        if self.sent:
            number = self.dice.choice(list(self.sent))
            del self.sent[number]
            self.tell([], [number])

    def kill_agent(self) -> None:
        self.alive_since = 0.0
        self.agent.kill()
        time.sleep(self.dice.choice([0.0, 0.0, self.dice.uniform(0, 2)]))
        self.start_agent()

    def stop_agent(self) -> None:
        self.alive_since = 0.0
        assert self.agent.stop() in (0, -signal.SIGTERM)  # the latter before it knows what to do
        self.start_agent()

    def start_agent(self) -> None:
        self.agent.start()
        self.alive_since = time.time()

    def freeze_agent(self) -> None:
        self.alive_since = 0.0
        os.kill(self.agent.pid, signal.SIGSTOP)
        time.sleep(self.dice.uniform(0.1, 3))
        os.kill(self.agent.pid, signal.SIGCONT)
        self.alive_since = time.time()

    def kill_redis(self) -> None:
        self.redis.kill()
        time.sleep(self.dice.uniform(0, 1.5))
        with self.lock:
            self.redis.start()
            self.control.client = self.redis.client

    def flush_redis(self) -> None:
        self.redis.client.flushall()

    def edit(self) -> None:
        """A person changes a key no patch knows, by rename or in place, unless the agent was quicker."""
        path = self.agent.conf
        for _ in range(20):
            text, inode = path.read_text(), path.stat().st_ino
            if not self.taken_in() or not usable(text):
                return
            self.edited += 1
            name = f"note_{self.edited % 4}"
            kept = [line for line in text.splitlines() if not line.startswith(name)]
            new = "\n".join([*kept, f"{name}: {self.edited}  # by hand", ""])
            temp = path.with_name("edit.tmp")
            temp.write_text(new)
            temp.chmod(0o640)
            if path.stat().st_ino != inode:
                continue
            if self.dice.random() < 0.5:
                temp.rename(path)
            else:
                path.write_text(new)
            self.edits[name] = self.edited
            self.edited_at = time.time()
            return

    def taken_in(self) -> bool:
        """Whether the agent had the time to see the last edit: who writes over it before takes it back."""
        return bool(self.alive_since) and time.time() - max(self.edited_at, self.alive_since) > 2.0

    def spoil(self) -> None:
        if self.taken_in():
            self.agent.conf.write_text(self.dice.choice(["", "{", "\0\0", "- a\n"]))

    def touch(self) -> None:
        self.agent.conf.touch()

    def kill_served(self) -> None:
        self.stop_serving()
        time.sleep(self.dice.choice([0.0, self.dice.uniform(0, 2)]))
        self.serve()

    def probe_breaks(self) -> None:
        self._for_a_while(self.home / "broken")

    def check_fails(self) -> None:
        self._for_a_while(self.home / "no")

    def _for_a_while(self, flag: Path) -> None:
        flag.touch()
        self.patch()
        time.sleep(self.dice.uniform(0.2, 3))
        flag.unlink()

    def wait(self) -> None:
        time.sleep(self.dice.uniform(0, 0.4))

    def storm(self, seconds: float) -> None:
        kinds: list[Callable[[], None]] = [
            self.patch, self.patch, self.patch, self.patch, self.burst, self.rollback, self.rollback,
            self.kill_agent, self.kill_agent, self.stop_agent, self.freeze_agent, self.kill_redis, self.flush_redis,
            self.edit, self.edit, self.spoil, self.touch,
            self.kill_served, self.probe_breaks, self.check_fails, self.wait, self.wait, self.wait,
        ]  # fmt: skip
        until_then = time.monotonic() + seconds
        while time.monotonic() < until_then:
            kind = self.dice.choice(kinds)
            self.did[kind.__name__] = self.did.get(kind.__name__, 0) + 1
            kind()
            self.drop()

    def drop(self) -> None:
        """As MGT: what ended a while ago leaves the stream."""
        ended = [one.id for one in self.sent.values() if one.end < time.time() - DROPPED_SECONDS]
        for number in ended:
            del self.sent[number]
        if ended:
            self.tell([], ended)

    # --- what must be

    def expected(self, failed: set[int]) -> dict[str, Any]:
        now = time.time()
        document: dict[str, Any] = yaml.safe_load(BASE) | self.edits
        force = [one for one in self.sent.values() if one.start <= now < one.end and one.id not in failed]
        for one in sorted(force, key=lambda one: (one.priority, one.id)):
            document = merged(document, one.changes)
        return document


def usable(text: str) -> bool:
    """Whether a person would edit this, and not somebody's half-written file."""
    try:
        return isinstance(yaml.safe_load(text), dict)
    except yaml.YAMLError:
        return False


def merged(document: Any, patch: Any) -> Any:
    """RFC 7386, written once more."""
    if not isinstance(patch, dict):
        return patch
    result = dict(document) if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


class Lookout(threading.Thread):
    """Reads conf.yml all the time: which ended patches are in it, and for how long an agent could have removed them."""

    def __init__(self, world: World, ends: dict[int, float]) -> None:
        super().__init__(daemon=True)
        self.world, self.ends = world, ends
        self.over = False
        self.late: dict[int, float] = {}
        self.mode: set[int] = set()

    def run(self) -> None:
        while not self.over:
            time.sleep(0.004)
            since = self.world.alive_since
            try:
                raw = self.world.agent.conf.read_bytes()
                self.mode.add(self.world.agent.conf.stat().st_mode & 0o7777)
            except OSError:
                continue
            now = time.time()
            if not since or since != self.world.alive_since:
                continue
            for number in {int(found) for found in MARK.findall(raw)}:
                ended = self.ends.get(number, float("inf"))
                if now > ended:
                    self.late[number] = max(self.late.get(number, 0.0), now - max(ended, since))


@pytest.fixture
def world(tmp_path: Path, redis_server: Redis, control: Control, new_agent: Callable[..., Agent]) -> Iterator[World]:
    home, port = tmp_path / "served", free_port()
    home.mkdir()
    agent = new_agent(
        HMS_PIDFILE=str(home / "pid"),
        HMS_CHECK=f"sh -c 'test ! -e {home}/no' check {{conf}}",
        HMS_PROBE_URL=f"http://127.0.0.1:{port}/",
        HMS_PROBE_HEADER="X-Conf: {{hms.conf_sha256}}",
        HMS_CONFIRM_TIMEOUT="1.5",
        HMS_BAKE="2",
    )
    agent.conf.write_text(BASE)
    agent.conf.chmod(0o640)
    made = World(home, redis_server, agent, control)
    until((home / "pid").exists, "the served process")
    yield made
    made.stop_serving()


def check_receipts(reports: list[tuple[float, dict[str, Any]]], loads: str) -> None:
    """`effective` only after the served process loaded a file with that patch; revisions only forward."""
    first: dict[int, float] = {}
    for line in loads.splitlines():
        at, *marks = line.split()
        for mark in marks:
            first.setdefault(int(mark.removeprefix("mark_")), float(at))
    for arrived, report in reports:
        for receipt in report["receipts"]:
            if receipt["stage"] == "effective":
                assert first.get(receipt["patch_id"], float("inf")) <= arrived, receipt
    revisions = [report["revision"] for _, report in reports]
    assert revisions == sorted(revisions)


@pytest.mark.timeout(int(SECONDS) * 3 + 60)
def test_whatever_happens_it_comes_out_right(  # noqa: C901, PLR0915 - one story
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    reports: list[tuple[float, dict[str, Any]]] = []
    over = threading.Event()

    def listen() -> None:
        """Reports are read as they come: Redis is flushed now and then."""
        seen = "0"
        while not over.wait(0.02):
            with contextlib.suppress(redis.RedisError, ValueError, OSError):
                found: Any = world.redis.client.xrange("ack::IACB", min=f"({seen}" if seen != "0" else "-")
                for key, fields in found:
                    seen = key.decode()
                    reports.append((int(seen.partition("-")[0]) / 1000 + 0.001, yaml.safe_load(fields[b"m"])))

    def beat() -> None:
        while not over.wait(1.0):
            world.beat()

    ends: dict[int, float] = {}
    lookout = Lookout(world, ends)
    sent_before = world.patch

    def patch() -> None:
        sent_before()
        ends[world.number] = world.sent[world.number].end

    world.patch = patch  # type: ignore[method-assign]
    world.control.client = world.redis.client
    world.start_agent()
    threads = [threading.Thread(target=listen), threading.Thread(target=beat), lookout]
    for thread in threads:
        thread.start()
    until(lambda: reports, "the first report")
    settled: list[float] = []
    failed_at_rest = 0
    try:
        began = time.monotonic()
        while time.monotonic() - began < SECONDS:
            world.storm(STORM_SECONDS)
            quiet = time.monotonic()

            def right() -> bool:
                last = reports[-1][1]
                failed = {one["patch_id"] for one in last["failed"]}
                text = world.agent.conf.read_text()
                return (
                    usable(text)  # somebody may just have spoilt it
                    and yaml.safe_load(text) == world.expected(failed)
                    and (world.home / "loaded").read_text() == text
                    and last["phase"] != "applying"
                    and not last["trouble"]
                    and last["active"] == [one.id for one in in_order(world, failed)]
                )

            until(right, "all as it should be", SETTLED_SECONDS)
            settled.append(time.monotonic() - quiet)
            failed_at_rest += len(reports[-1][1]["failed"])
    finally:
        over.set()
        lookout.over = True
        for thread in threads:
            thread.join()
        with capsys.disabled():
            late = sorted(lookout.late.values())
            story = f"{world.number} patches, {len(settled)} storms, settled after {max(settled, default=0):.1f} s"
            print(f"[{story}; latest ends {[round(x, 3) for x in late[-3:]]}; {failed_at_rest} blocked]", end=" ")  # noqa: T201
    check_receipts(reports, (world.home / "loads").read_text())
    assert lookout.mode == {0o640}
    assert world.agent.events("error") == []
    assert {number: late for number, late in lookout.late.items() if late > MOST_LATE_SECONDS} == {}


def in_order(world: World, failed: set[int]) -> list[Sent]:
    now = time.time()
    force = [one for one in world.sent.values() if one.start <= now < one.end and one.id not in failed]
    return sorted(force, key=lambda one: (one.priority, one.id))
