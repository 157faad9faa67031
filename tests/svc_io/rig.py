"""The world around an agent under test: a real Redis, a real nginx, and a stand-in for MGT and GOV that holds the keys.

`Control` is the fake here: it signs and publishes exactly what MGT would, without a database behind it. Everything
runs on ports and in directories of its own, so tests can run side by side.
"""

import base64
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import redis
from nacl.signing import SigningKey

from hms_svc.messages import delta_payload, entry, heartbeat_payload, snapshot_payload
from hms_svc.trust import dump_trust
from hms_svc.wire import ADMIT_ALL, DECISION, STREAM, rfc3339, seal

T = TypeVar("T")

TENANT, SERVICE, INSTANCE = "IACB", "ARTIST_REGISTRY_API", "artist-1"

CONF = """\
# Artist registry: limits
rate_limit_rps: 50   # requests per second and address

upstream:
  timeout_ms: 300  # keep below the gateway's
  hosts: [a, b]
greeting: "hello"    # quoted on purpose
"""

NGINX_TEMPLATE = """\
user root;
daemon off;
worker_processes 1;
pid @dir@/nginx.pid;
error_log @dir@/error.log notice;
events {}
http {
  access_log off;
  client_body_temp_path @dir@/body;
  proxy_temp_path @dir@/proxy;
  fastcgi_temp_path @dir@/fastcgi;
  uwsgi_temp_path @dir@/uwsgi;
  scgi_temp_path @dir@/scgi;
  limit_req_zone $binary_remote_addr zone=all:1m rate={{rate_limit_rps}}r/s;
  server {
    listen 127.0.0.1:@port@;
    root @dir@/www;
    limit_req zone=all burst=100 nodelay;
    add_header X-RPS-Limit {{rate_limit_rps}} always;
    add_header X-Greeting "{{greeting}}" always;
  }
}
"""


def readable(source: int | socket.socket, seconds: float = 0.0) -> bool:
    """Whether there is something to read. Not by select, which knows no descriptor above 1,023."""
    poll = select.poll()
    poll.register(source, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def until(probe: Callable[[], T], what: str, seconds: float = 10.0) -> T:
    """Ask until the answer is true; fail with words when it never is."""
    deadline = time.monotonic() + seconds
    while True:
        found = probe()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what} (last answer: {found!r})")
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class Redis:
    """A private redis-server."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.port = free_port()
        self._directory = directory
        self._options = options
        directory.mkdir(exist_ok=True)
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        arguments = [
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--dir",
            str(self._directory),
            *self._options,
        ]
        self._process = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port)
        until(self._answers, "redis-server to answer")

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    def command(self, *words: str) -> None:
        """Anything redis-py has no typed method for."""
        self.client.execute_command(*words)  # type: ignore[no-untyped-call]

    def kill(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.wait()


class Nginx:
    """A private nginx whose limits come from a rendered file."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.directory = directory
        (directory / "www").mkdir(parents=True)
        (directory / "www" / "index.html").write_text("artists\n")
        self.conf = directory / "nginx.conf"
        self.template = directory / "nginx.conf.tmpl"
        text = NGINX_TEMPLATE.replace("@dir@", str(directory)).replace("@port@", str(self.port))
        self.template.write_text(text)
        self.conf.write_text(text.replace("{{rate_limit_rps}}", "50").replace("{{greeting}}", "hello"))
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(["nginx", "-c", str(self.conf)])
        until(self.header, "nginx to answer")

    def header(self, name: str = "x-rps-limit") -> str:
        """What the running nginx shows in one header, over a fresh connection; "" when it does not answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as sock:
                sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
                head = b"".join(iter(lambda: sock.recv(4096), b"")).partition(b"\r\n\r\n")[0].decode()
        except OSError:
            return ""
        pairs = (line.partition(": ") for line in head.split("\r\n"))
        return next((value for key, _, value in pairs if key.lower() == name), "")

    def reloads(self) -> int:
        """How often it was told to reload: the workers' generations cannot be seen, the log can."""
        return (self.directory / "error.log").read_text().count("signal 1 (SIGHUP) received")

    def settings(self) -> dict[str, str]:
        return {
            "HMS_RENDER": f"{self.template}:{self.conf}",
            "HMS_CHECK": "nginx -t -q -c {rendered}",
            "HMS_PIDFILE": str(self.directory / "nginx.pid"),
            "HMS_PROCESS": "nginx",
            "HMS_PROBE_URL": f"http://127.0.0.1:{self.port}/",
            "HMS_PROBE_HEADER": "X-RPS-Limit: {{rate_limit_rps}}",
        }

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Control:
    """Fake MGT and GOV: their keys, a stream counted by hand, and no database."""

    def __init__(self, client: redis.Redis | None = None, tenant: str = TENANT, service: str = SERVICE) -> None:
        self.gov, self.mgt = SigningKey.generate(), SigningKey.generate()
        self.client = client
        self.tenant, self.service = tenant, service
        self.revision = 0
        self.entries: dict[int, dict[str, Any]] = {}

    def trust(self) -> str:
        return dump_trust([self.gov.verify_key], [self.mgt.verify_key])

    def decision(self, patch_id: int, changes: dict[str, Any], **other: Any) -> dict[str, Any]:
        """A decision payload; a window from a minute ago without end unless said otherwise (epoch seconds)."""
        now = time.time()
        start, end = other.pop("start", now - 60), other.pop("end", None)
        stamp = rfc3339(end) if end is not None else None
        return {
            "v": 1,
            "decision_id": f"d-{patch_id}",
            "verdict": "allow",
            "patch_id": patch_id,
            "tenant": self.tenant,
            "service": self.service,
            "version_selector": ">=2.1.0",
            "changes": changes,
            "window": {"start": rfc3339(start), "end": stamp},
            "priority": 0,
            "reasons": [],
            "obligations": [],
            "policy_revision": "sha256:0",
            "issued": rfc3339(now),
            "expires": stamp,
            **other,
        }

    def entry(self, patch_id: int, changes: dict[str, Any], **other: Any) -> dict[str, Any]:
        admit = other.pop("admit_below", ADMIT_ALL)
        envelope = seal(DECISION, self.decision(patch_id, changes, **other), self.gov)
        return entry(patch_id, admit, envelope)

    def step(self, put: list[dict[str, Any]], ended: list[int]) -> tuple[str, str]:
        """Move the stream on by one revision: the snapshot and the delta, signed."""
        self.revision += 1
        for item in put:
            self.entries[_patch_id(item)] = item
        for patch_id in ended:
            self.entries.pop(patch_id, None)
        delta = delta_payload(self.tenant, self.service, self.revision, time.time(), put, ended)
        return self.snapshot(), json.dumps(seal(STREAM, delta, self.mgt))

    def snapshot(self) -> str:
        payload = snapshot_payload(self.tenant, self.service, self.revision, time.time(), list(self.entries.values()))
        return json.dumps(seal(STREAM, payload, self.mgt))

    def publish(self, put: list[dict[str, Any]] | None = None, ended: list[int] | None = None) -> None:
        """As MGT does it: the snapshot first, then the delta."""
        snapshot, delta = self.step(put or [], ended or [])
        self.keep(snapshot)
        self.send(delta)

    def put(self, patch_id: int, changes: dict[str, Any], **other: Any) -> None:
        self.publish([self.entry(patch_id, changes, **other)])

    def end(self, *ids: int) -> None:
        self.publish([], list(ids))

    def keep(self, snapshot: str) -> None:
        self._redis().set(f"cfg-state::{self.tenant}::{self.service}", snapshot)

    def send(self, message: str | bytes) -> None:
        self._redis().publish(f"cfg::{self.tenant}", message)

    def heartbeat(self, issued: float | None = None) -> str:
        payload = heartbeat_payload(self.tenant, issued or time.time(), {self.service: self.revision})
        return json.dumps(seal(STREAM, payload, self.mgt))

    def _redis(self) -> redis.Redis:
        assert self.client is not None
        return self.client


def _patch_id(item: dict[str, Any]) -> int:
    payload = json.loads(base64.b64decode(item["decision"]["payload"]))
    number: int = payload["patch_id"]
    return number


class Agent:
    """The agent as a process of its own, with its directories."""

    def __init__(self, directory: Path, control: Control, redis_url: str, **settings: str) -> None:
        self.directory = directory
        self.state = directory / "state"
        self.conf = directory / "conf" / "conf.yml"
        self.log_path = directory / "agent.log"
        self.conf.parent.mkdir(parents=True, exist_ok=True)
        self.log_path.touch()
        if not self.conf.exists():
            self.conf.write_text(CONF)
        trust = directory / "trust.json"
        trust.write_text(control.trust())
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "TENANT": TENANT,
            "HMS_SERVICE": SERVICE,
            "HMS_VERSION": "2.1.0",
            "HMS_INSTANCE": INSTANCE,
            "HMS_CONF": str(self.conf),
            "HMS_STATE": str(self.state),
            "HMS_TRUST": str(trust),
            "HMS_REDIS_URL": redis_url,
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self.wrapper: list[str] = []

    def command(self, *arguments: str) -> list[str]:
        return [*self.wrapper, sys.executable, "-m", "hms_svc", *arguments]

    def start(self, *arguments: str) -> "Agent":
        self._started = time.time()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command("run", *arguments),
                env=self.environment,
                stderr=log,
                cwd=self.directory,
                process_group=0,
            )
        return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            cwd=self.directory,
            timeout=60,
            check=False,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)  # strace, where it wraps the agent, does not take it along
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(10)

    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def cleanup(self) -> None:
        if self.running():
            self.kill()

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """What it logged, or only one kind of event."""
        lines = [json.loads(line) for line in self.log_path.read_text().splitlines()]
        return [line for line in lines if not name or line["event"] == name]

    def a_second(self) -> float:
        """The second within which the agent promises an ending; more where the machine is busy with other things.

        Its measure is the agent's own start, for which a machine at peace takes less than a quarter of a second.
        """
        said = self.wait_for("started")[-1]["at"]
        return max(1.0, 4 * (datetime.fromisoformat(said).timestamp() - self._started))

    def wait_for(self, event: str, count: int = 1) -> list[dict[str, Any]]:
        def enough() -> list[dict[str, Any]]:
            found = self.events(event)
            return found if len(found) >= count else []

        return until(enough, f"{count} x {event} in the log of {self.directory}")


class Acks:
    """What the control plane would read from `ack::T`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def reports(self) -> list[dict[str, Any]]:
        entries: Any = self._client.xrange(f"ack::{TENANT}")
        return [json.loads(fields[b"m"]) for _, fields in entries]

    def last(self) -> dict[str, Any]:
        found = self.reports()
        return found[-1] if found else {}

    def receipts(self, patch_id: int) -> list[str]:
        """The stages one patch reached, in the order they were told."""
        found = [receipt for report in self.reports() for receipt in report["receipts"]]
        return [receipt["stage"] for receipt in found if receipt["patch_id"] == patch_id]

    def wait_active(self, *ids: int, seconds: float = 10.0) -> dict[str, Any]:
        """The first last report that says exactly these patches are in effect, and nothing is under way."""

        def settled() -> dict[str, Any]:
            last = self.last()
            return last if last and last["active"] == list(ids) and last["phase"] != "applying" else {}

        return until(settled, f"report of active {ids}", seconds)
