"""The running system as a test holds it: `hms-mgt up --demo` as a subprocess, with its API, processes and files.

Nothing in here is faked. It looks from outside, as a release manager (HTTP), a client of the served process
(HTTP), an operator (processes, files) or an auditor (SQL) would. What a test expects stays in the tests.
"""

import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx
import psutil
import psycopg
import redis

from hms_mgt.orchestrators import home

T = TypeVar("T")
TENANT, SERVICE, VERSION = "IACB", "ARTIST_REGISTRY_API", "2.1.0"
# Headroom for a machine that is busy with other things; where a promise sets a number, the test names it.
PATIENCE_S = 40.0
_ENDED = frozenset({"REJECTED", "EXPIRED", "ROLLED_BACK", "CANCELLED"})
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def until(what: str, look: Callable[[], T], enough: Callable[[T], object], within: float = PATIENCE_S) -> T:
    """Look until it is enough. Returns what was seen; fails with the last sight when time is up.

    Only what was looked at before the deadline counts.
    """
    deadline = time.monotonic() + within
    while True:
        began = time.monotonic()
        seen = look()
        if began <= deadline and enough(seen):
            return seen
        if began > deadline:
            raise AssertionError(f"{what}: not within {within:g} s; last seen: {seen!r}")
        time.sleep(0.02)


def await_instant(epoch: float) -> None:
    """Wait for a moment of the wall clock."""
    time.sleep(max(0.0, epoch - time.time()))


class Instance(NamedTuple):
    """One instance on disk: where it lives and answers, and its two processes."""

    name: str
    home: Path
    url: str
    sidecar: int
    served: int

    @property
    def conf(self) -> bytes:
        """Return its conf.yml."""
        return (self.home / "conf" / "conf.yml").read_bytes()

    def log(self) -> list[dict[str, Any]]:
        """Return what its sidecar logged."""
        text = (self.home / "sidecar.log").read_text()
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def refusals(self) -> list[dict[str, Any]]:
        """Return the refusals its sidecar logged."""
        return [line for line in self.log() if line["event"] == "refused"]


class Sight(NamedTuple):
    """What one instance shows: its file, and the limit that the served process sends."""

    conf: bytes
    limit: str


class File(NamedTuple):
    """A file, so exactly that even a rewrite with the same bytes shows."""

    content: bytes
    inode: int
    mtime_ns: int


class System:
    """One `hms-mgt up --demo` on one data directory, startable again and again."""

    def __init__(self, place: Path) -> None:
        self.data = place / "data"
        self.output = place / "up.log"
        self._ready_file = place / "ready.json"
        self._up: subprocess.Popen[bytes] | None = None
        self._web = httpx.Client(timeout=5, limits=httpx.Limits(max_keepalive_connections=0))
        self.ready: dict[str, Any] = {}

    # --- starting and ending ---------------------------------------------------------------------------------

    def start(self, *wrapper: str, **environment: str) -> None:
        """Start `up`, behind a wrapper command if one is given, and wait until it says that all is ready."""
        assert self._up is None, "it runs already"
        self._ready_file.unlink(missing_ok=True)
        hms_mgt = str(Path(sys.executable).with_name("hms-mgt"))
        options = ("--demo", "--port", "0", "--data", str(self.data), "--ready-file", str(self._ready_file))
        with self.output.open("ab") as output:
            self._up = subprocess.Popen(
                [*wrapper, hms_mgt, "up", *options],
                env={**_clean_environment(), **environment},
                # Elsewhere: `python -m` looks where it stands first, and which code runs is for the path to say.
                cwd=self.data.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Should the test run itself be killed, nothing stays behind.
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no other thread is in a lock meanwhile
            )
        until("up is ready", self._is_ready, bool, 90)
        self.ready = json.loads(self._ready_file.read_text())

    def _is_ready(self) -> bool:
        assert self.up.poll() is None, f"up ended with {self.up.returncode}:\n{self.output.read_text()}"
        return self._ready_file.exists()

    @property
    def up(self) -> subprocess.Popen[bytes]:
        """Return the process of `up`."""
        assert self._up is not None, "it does not run"
        return self._up

    @property
    def runs(self) -> bool:
        """Tell whether `up` was started and not ended since."""
        return self._up is not None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End `up` as an operator does. Returns its exit code."""
        self.up.send_signal(number)
        code = self.up.wait(60)
        self._up = None
        return code

    def crash(self) -> None:
        """Kill all of the control plane with SIGKILL: up, api, worker, GOV, Redis, Postgres. The fleet goes on."""
        up = psutil.Process(self.up.pid)
        doomed = [*up.children(), *self.part("gov").children(), *self.postgres()]
        up.suspend()  # so that it neither starts anything again nor passes a softer signal on when it dies
        for process in doomed:
            kill(process)
        self.up.kill()
        self.up.wait()
        self._up = None
        until("everything is dead", lambda: [one for one in doomed if alive(one)], lambda left: not left, 10)

    def destroy(self) -> None:
        """End whatever there still is of this system, however it got left."""
        self._web.close()
        if self._up is not None:
            self._up.send_signal(signal.SIGCONT)
            self._up.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._up.wait(30)
        for process in self.processes():
            kill(process)
        if self._up is not None:
            self._up.wait(10)

    # --- processes -------------------------------------------------------------------------------------------

    def part(self, name: str) -> psutil.Process:
        """Return the running process of a part: `api`, `worker`, `gov` or `redis`."""
        mark = {"api": "hms_mgt api", "worker": "hms_mgt worker", "gov": "hms_gov serve"}.get(name, name)

        def find() -> list[psutil.Process]:
            children = psutil.Process(self.up.pid).children()
            return [one for one in children if alive(one) and mark in _command(one)]

        return until(f"{name} runs", find, bool)[0]

    def postgres(self) -> list[psutil.Process]:
        """Return the processes of the embedded Postgres, the postmaster first."""
        pid = int((self.data / "postgres" / "postmaster.pid").read_text().split()[0])
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def processes(self) -> list[psutil.Process]:
        """Return every live process that has to do with the data directory.

        Its command line, environment, working directory or an open file gives it away; a worker of nginx has
        only the last one.
        """
        return [one for one in psutil.process_iter() if one.pid != os.getpid() and self._mine(one)]

    def _mine(self, process: psutil.Process) -> bool:
        traces: tuple[Callable[[], list[str]], ...] = (
            process.cmdline,
            lambda: list(process.environ().values()),
            lambda: [process.cwd()],
            lambda: [str(path.readlink()) for path in Path(f"/proc/{process.pid}/fd").iterdir()],
        )
        for trace in traces:
            with contextlib.suppress(psutil.Error, OSError):
                if alive(process) and any(str(self.data) in word for word in trace()):
                    return True
        return False

    def children(self) -> list[psutil.Process]:
        """Return all that `up` started, whatever level below, and Postgres."""
        return [*psutil.Process(self.up.pid).children(recursive=True), *self.postgres()]

    # --- the API ---------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, *, token: str | None = None, body: Any = None) -> httpx.Response:
        """Ask MGT, as the release manager of the tenant unless another token is given."""
        headers = {"Authorization": f"Bearer {token or self.ready['tokens']['release_manager']}"}
        return self._web.request(method, f"{self.ready['mgt_url']}{path}", headers=headers, json=body)

    def submit(self, changes: dict[str, Any], window: dict[str, str] | None = None, **fields: Any) -> int:
        """Submit a patch for the demo's service. Returns its id."""
        patch = {"service": SERVICE, "version_selector": ">=2.1.0", "changes": changes, "tenant": TENANT}
        window = window or {"start": "now", "duration": "1h"}
        answer = self.ask("POST", "/api/patch", body={**patch, "window": window, **fields})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        assert answer.json()["status"] == "QUEUED"
        return int(answer.json()["patch_id"])

    def patch(self, patch_id: int) -> dict[str, Any]:
        """Return a patch as MGT shows it."""
        shown: dict[str, Any] = self.ask("GET", f"/api/patch/{patch_id}").raise_for_status().json()
        return shown

    def reaches(self, patch_id: int, status: str, within: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a patch has a status. Returns it; fails early when it ended otherwise."""

        def look() -> dict[str, Any]:
            patch = self.patch(patch_id)
            short = {key: patch[key] for key in ("status", "status_reason", "progress", "events")}
            assert patch["status"] == status or patch["status"] not in _ENDED, short
            return patch

        return until(f"patch {patch_id} is {status}", look, lambda patch: patch["status"] == status, within)

    def apply(self, changes: dict[str, Any], window: dict[str, str] | None = None, **fields: Any) -> int:
        """Submit a patch and wait until it is APPLIED. Returns its id."""
        patch_id = self.submit(changes, window, **fields)
        self.reaches(patch_id, "APPLIED")
        return patch_id

    def roll_back(self, patch_id: int) -> dict[str, Any]:
        """End a patch by hand and wait until it is ROLLED_BACK."""
        self.ask("POST", f"/api/patch/{patch_id}/rollback").raise_for_status()
        return self.reaches(patch_id, "ROLLED_BACK")

    def fleet(self) -> list[dict[str, Any]]:
        """Return the instances that MGT knows and that are not gone."""
        items = self.ask("GET", "/api/instance").raise_for_status().json()["items"]
        return [one for one in items if one["status"] != "GONE"]

    # --- what can be seen ------------------------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        """Return the instances on disk whose processes were started, by number."""
        return [
            Instance(one.name, one.path, f"http://127.0.0.1:{one.port}/", one.sidecar.pid, one.served.pid)
            for one in home.homes(self.data)
            if one.sidecar is not None and one.served is not None
        ]

    def sight(self) -> dict[str, Sight]:
        """Look at every instance: file and served process."""
        return {one.name: Sight(one.conf, self.limit(one)) for one in self.instances()}

    def limit(self, instance: Instance) -> str:
        """Return the X-RPS-Limit that the served process sends."""
        try:
            return str(self._web.get(instance.url).headers.get("X-RPS-Limit", "none"))
        except httpx.HTTPError as error:
            return type(error).__name__

    def shows(self, limit: int) -> bool:
        """Tell whether every instance has this limit, in its file and in its answers."""
        written = f"rate_limit_rps: {limit} ".encode()
        return all(written in seen.conf and seen.limit == str(limit) for seen in self.sight().values())

    def conf_files(self) -> dict[Path, File]:
        """Return every file beside every conf.yml, conf.yml and what the sidecar renders included."""
        paths = [path for path in self.data.glob("instances/*/*/conf/**/*") if path.is_file()]
        return {path: File(path.read_bytes(), path.stat().st_ino, path.stat().st_mtime_ns) for path in paths}

    def log(self, name: str) -> str:
        """Return what a part logged."""
        path = self.data / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    @contextlib.contextmanager
    def sql(self) -> Iterator[psycopg.Connection]:
        """Open a connection as the database's superuser."""
        with psycopg.connect(self.ready["database_url"]) as connection:
            yield connection

    @contextlib.contextmanager
    def broker(self) -> Iterator[redis.Redis]:
        """Open a connection to Redis, as anyone could who gets into its network."""
        client = redis.Redis.from_url(self.ready["redis_url"], socket_timeout=5)
        try:
            yield client
        finally:
            client.close()


def require_real_parts() -> None:
    """Fail unless the real servers are installed: these tests mean nothing without them."""
    paths = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    missing = [name for name in ("nginx", "redis-server") if shutil.which(name, path=paths) is None]
    assert not missing, f"the system tests need {' and '.join(missing)}; apt-get install nginx-light redis-server"


def window_end(patch: dict[str, Any]) -> float:
    """Return the epoch second at which a patch's window ends."""
    return datetime.fromisoformat(patch["window"]["end"]).timestamp()


def path_of(patch: dict[str, Any]) -> list[str]:
    """Return the statuses a patch went through."""
    return [event["to"] for event in patch["events"]]


def alive(process: psutil.Process) -> bool:
    """Tell whether a process runs; a zombie does not."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def kill(process: psutil.Process) -> None:
    """Kill with SIGKILL what may be gone already."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def workers_of(instances: Sequence[Instance]) -> dict[str, list[int]]:
    """Return the pids of each nginx's workers: a reload would change them."""
    return {one.name: sorted(child.pid for child in psutil.Process(one.served).children()) for one in instances}


def _command(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _clean_environment() -> dict[str, str]:
    """Return our environment without settings of another system."""
    return {name: value for name, value in os.environ.items() if not name.startswith("HMS_")}


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
