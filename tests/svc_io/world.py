"""A world around one agent: what it serves, whom it hears, what was sent and edited, and what must come of that.

What happens in it is in `storm`. What is expected comes from the patches sent and the edits made alone. Each patch
brings a key of its own besides those it fights for, so a look at a file says which patches are in it.
"""

import contextlib
import hashlib
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import redis
import yaml
from nacl.signing import SigningKey

from hms_svc.trust import TRUST, Trust, appended, payload
from hms_svc.wire import Pins, rfc3339, seal

from .rig import Agent, Control, Redis

TAKEN_IN_SECONDS = 2.0
ROTATION_SECONDS = 10.0
MODE = 0o640

BASE = """\
# Limits of the registry
limits: {rps: 10, burst: 20}   # together
upstream:
  # nearest first
  hosts: [a, b]
  retry: {count: 2, wait: 0.5}
log: "info"
shared: 0
"""

SERVED = """\
import hashlib, http.server, os, pathlib, signal, sys, threading, time
conf, home, port = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3])
sha = ""
told, tell = os.pipe()
def load():
    global sha
    raw = conf.read_bytes()
    sha = hashlib.sha256(raw).hexdigest()
    with (home / "loads").open("ab") as log:
        log.write(f"{time.time()} {' '.join(w.decode()[:-1] for w in raw.split() if w[:5] == b'mark_')}\\n".encode())
    (home / "new").write_bytes(raw)
    (home / "new").rename(home / "loaded")
signal.signal(signal.SIGHUP, lambda *_: os.write(tell, b"!"))
load()
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if (home / "broken").exists() else 200)
        self.send_header("X-Conf", "?" if (home / "broken").exists() else sha)
        self.end_headers()
    def log_message(self, *_):
        pass
server = http.server.HTTPServer(("127.0.0.1", port), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
(home / "pid").write_text(str(os.getpid()))
while os.read(told, 4096):  # one load at a time, however fast it is told
    load()
"""

TEMPLATE = "made of {{hms.conf_sha256}}\n"


class Sent(NamedTuple):
    """A patch as it was sent."""

    id: int
    changes: dict[str, Any]
    priority: int
    start: float
    end: float


class Fault(NamedTuple):
    """Something that excuses the agent, and when it was so."""

    kind: str
    began: float
    ended: float


class World:
    """The agent and everything around it."""

    def __init__(self, home: Path, server: Redis, agent: Agent, control: Control, seed: int) -> None:
        self.dice = random.Random(seed)  # noqa: S311 - the same storm again for the same seed
        self.redis, self.agent, self.control, self.home = server, agent, control, home
        self.port = int(agent.environment["HMS_PROBE_URL"].rpartition(":")[2].strip("/"))
        self.conf = agent.conf.resolve()
        self.rendered = home / "rendered.conf"
        self.sent: dict[int, Sent] = {}  # not ended by anybody but its window
        self.spans: dict[int, tuple[float, float]] = {}  # of every patch ever sent
        self.number = 0
        self.edits: dict[str, int] = {}
        self.shared = [0]  # what a key that both people and patches set may be without patches
        self.edited_at = 0.0
        self.mode, self.modes = MODE, {MODE}
        self.modes_lost = 0
        self.alive_since = 0.0  # since when the agent could act; 0 while it cannot
        self.last_report: tuple[float, dict[str, Any]] = (0.0, {})
        self.forgot: list[Fault] = []  # when the journal was lost or could not be written
        self.faults: list[Fault] = []  # for which a patch may be blamed
        self.lock = threading.Lock()  # the sender and the heart share the keys and the revision
        self._trust, self._serial, self._rotated_at = control.trust(), 0, 0.0
        self._held: list[str] = []
        self._said: list[tuple[str, str]] = []
        self.serve()

    # --- the served process

    def serve(self) -> None:
        words = [str(self.agent.conf), str(self.home), str(self.port)]
        self.process = subprocess.Popen([sys.executable, "-c", SERVED, *words])

    def stop_serving(self) -> None:
        self.process.kill()
        self.process.wait()

    # --- the control plane

    def publish(self, sent: Sent) -> None:
        self.sent[sent.id], self.spans[sent.id] = sent, (sent.start, sent.end)
        item = self.control.entry(sent.id, sent.changes, priority=sent.priority, start=sent.start, end=sent.end)
        self.tell([item], [])

    def withdraw(self, *ids: int) -> None:
        for number in ids:
            del self.sent[number]
        self.tell([], list(ids))

    def tell(self, put: list[dict[str, Any]], ended: list[int]) -> None:
        """As MGT: what Redis does not take now is there once it answers again. Some of it is lost, some comes late."""
        with self.lock:
            snapshot, delta = self.control.step(put, ended)
            self._said = [*self._said[-20:], (snapshot, delta)]
            with contextlib.suppress(redis.RedisError):
                if self.dice.random() < 0.9:
                    self.control.keep(snapshot)
                if self.dice.random() < 0.1:
                    self._held.append(delta)
                elif self.dice.random() < 0.9:
                    self.control.send(delta)
                    while self._held:
                        self.control.send(self._held.pop())

    def repeat(self) -> None:
        """What was said before comes again, and Redis' copy is an old one, until the next heartbeat."""
        with self.lock, contextlib.suppress(redis.RedisError):
            if self._said:
                self.control.keep(self.dice.choice(self._said)[0])
                self.control.send(self.dice.choice(self._said)[1])

    def beat(self) -> None:
        with self.lock, contextlib.suppress(redis.RedisError):
            self.control.keep(self.control.snapshot())
            self.control.send(self.control.heartbeat())

    def rotate(self) -> None:
        """MGT signs with another key from now on; the one before stays pinned until the next time.

        Not so often that an agent can miss a step: it would see none of its keys again, and count revisions anew.
        """
        if time.time() < self._rotated_at + ROTATION_SECONDS:
            return
        self._rotated_at = time.time()
        with self.lock:
            fresh, gov, mgt = SigningKey.generate(), self.control.gov, self.control.mgt
            self._serial += 1
            trust = Trust(_pins(gov), _pins(mgt, fresh), self._serial)
            step = seal(TRUST, payload(trust, rfc3339(time.time())), gov, mgt)
            self._trust = appended(self._trust, step)
            path = self.agent.directory / "trust.json"
            path.with_name("trust.new").write_text(self._trust)
            path.with_name("trust.new").rename(path)
            self.control.mgt = fresh

    # --- what must be

    def taken_in(self) -> bool:
        """Whether the agent saw the last edit: who writes over it before takes it back.

        It looks after an attempt, and however long that took, it reported since that none is under way.
        """
        arrived, report = self.last_report
        seen_by = max(self.edited_at, self.alive_since) + TAKEN_IN_SECONDS
        return bool(self.alive_since) and arrived > seen_by and report["phase"] != "applying"

    def in_force(self, failed: set[int]) -> list[Sent]:
        now = time.time()
        force = [one for one in self.sent.values() if one.start <= now < one.end and one.id not in failed]
        return sorted(force, key=lambda one: (one.priority, one.id))

    def fits(self, text: str, failed: set[int]) -> bool:
        """Whether this is what conf.yml should say; where that shows what the shared key is, it is known from then."""
        found, force = yaml.safe_load(text), self.in_force(failed)
        for value in self.shared:
            document: dict[str, Any] = yaml.safe_load(BASE) | self.edits | {"shared": value}
            for one in force:
                document = merged(document, one.changes)
            if found == document:
                if not any("shared" in one.changes for one in force):
                    self.shared = [value]
                return True
        return False

    def undressed(self, text: str) -> dict[str, Any]:
        """What is wrong with mode or rendered file. A mode set in the moment of a rename is lost and set again."""
        if self.conf.stat().st_mode & 0o7777 != self.mode:
            self.modes_lost += 1
            self.conf.chmod(self.mode)
            return {"mode": self.mode}
        made = self.rendered.read_text() if self.rendered.exists() else ""
        return {"rendered": made} if made != f"made of {hashlib.sha256(text.encode()).hexdigest()}\n" else {}


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


def _pins(*keys: SigningKey) -> Pins:
    return Pins(tuple(bytes(key.verify_key) for key in keys), 1)
