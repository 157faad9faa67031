"""`hms-mgt up`: starts the whole system on this machine, keeps it running, and ends all of it again."""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

import httpx
from sqlalchemy.exc import SQLAlchemyError

from hms_mgt.bootstrap import read_keys, write_keys
from hms_mgt.errors import HmsError, Unavailable
from hms_mgt.local import seed
from hms_mgt.local.children import Children, Spec
from hms_mgt.local.ports import Ports
from hms_mgt.local.postgres import Postgres
from hms_mgt.orchestrators import home
from hms_mgt.orchestrators import local as fleet
from hms_mgt.orchestrators.files import write_durably
from hms_mgt.orchestrators.free_port import is_free
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.store.migrate import upgrade

_READY_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.2
# What the machine, the database or a program that is called may do to anybody; all else is a bug.
_TROUBLE = (HmsError, OSError, SQLAlchemyError, subprocess.SubprocessError)


class Options(NamedTuple):
    """What `up` was asked for. Port 0 takes a free one."""

    data: Path
    port: int
    demo: bool
    ready_file: Path | None


class Failed(Exception):
    """`up` cannot go on; the words say why and where to look."""


class Endpoints(NamedTuple):
    """Where everything answers."""

    mgt_url: str
    gov_url: str
    database_url: str
    redis_url: str
    trust_file: str


def up(options: Options, say: Callable[[str], None]) -> None:
    """Start everything, report when it answers, and stay until SIGINT or SIGTERM.

    Raises:
        Failed: something did not start; whatever was started is ended again.
    """
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        _run(options, say, stop)
    except _TROUBLE as error:
        raise Failed(f"cannot go on: {_first_line(error)}") from error


def _run(options: Options, say: Callable[[str], None], stop: threading.Event) -> None:
    keys = _given_keys()
    options.data.mkdir(parents=True, exist_ok=True)
    with _only_one(options.data):
        running = _Running(options, keys, say)
        try:
            running.start(stop)
            running.keep(stop)
        finally:
            running.end()


def _given_keys() -> Path | None:
    """Return the directory of keys that the environment names, if any; it must hold whatever will be read."""
    given, foreign_gov = os.environ.get("HMS_KEYS"), os.environ.get("HMS_GOV_URL")
    if not given:
        if foreign_gov:
            raise Failed(
                "HMS_GOV_URL names a GOV that signs with a key of its own, so HMS_KEYS must be set, too: the directory"
                " of mgt.key and of a trust.json that pins the keys of both (`hms-mgt keys` makes them)"
            )
        return None
    keys = Path(given).resolve()
    needed = ("mgt.key", "trust.json") if foreign_gov else ("gov.key", "mgt.key", "trust.json")
    missing = [name for name in needed if not (keys / name).is_file()]
    if missing:
        raise Failed(f"HMS_KEYS names {keys}, which has no {' and no '.join(missing)} (`hms-mgt keys` makes them)")
    return keys


def _first_line(error: Exception) -> str:
    """Return what a person needs of an error; below stand SQL and links."""
    return (str(error) or type(error).__name__).splitlines()[0]


@contextlib.contextmanager
def _only_one(data: Path) -> Iterator[None]:
    lock: IO[str] = (data / "up.lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another `hms-mgt up` already runs on {data}") from None
        yield


class _Running:
    """The running system, part by part."""

    def __init__(self, options: Options, keys: Path | None, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._started = datetime.now(UTC)
        self._data = options.data.resolve()
        self._given_keys = keys
        self._keys = keys or self._data / "keys"
        self._ports = Ports(self._data / "ports.json")
        self._children = Children(self._data / "logs")
        self._postgres: Postgres | None = None

    def start(self, stop: threading.Event) -> None:
        """Start every part in the order they need each other."""
        self._ready_keys()
        # These two come up while Postgres does.
        redis_url = self._start_redis()
        gov_url = self._start_gov()
        database_url = self._start_postgres()
        self._say("migrating the database")
        upgrade(database_url)
        tokens = asyncio.run(self._seed(database_url))
        mgt_url = f"http://127.0.0.1:{self._api_port()}"
        there = Endpoints(mgt_url, gov_url, database_url, redis_url, str(self._keys / "trust.json"))
        self._start_mgt(there)
        self._await_ready(there, tokens["viewer"], stop)
        if not stop.is_set():
            self._report(there, tokens)

    def keep(self, stop: threading.Event) -> None:
        """Watch over the parts until told to stop."""
        while not stop.wait(_LOOK_EVERY_S):
            for death in self._children.watch():
                self._say(f"{death}; starting it again (log: {self._data / 'logs'})")
            if self._postgres is not None and self._postgres.watch():
                self._say("postgres ended; started it again")

    def end(self) -> None:
        """End every part: who starts processes first, what they need last."""
        self._say("stopping")
        with contextlib.ExitStack() as last_first:  # what cannot be ended keeps nothing else running
            if self._postgres is not None:
                last_first.callback(self._postgres.stop)
            last_first.callback(self._children.stop_all)
            last_first.callback(lambda: fleet.stop(home.homes(self._data)))
            last_first.callback(self._children.stop, "worker")

    def _ready_keys(self) -> None:
        if self._given_keys is not None:
            self._say(f"using the keys in {self._keys} (HMS_KEYS)")
        elif not (self._keys / "trust.json").exists():
            self._say(f"making keys in {self._keys}")
            write_keys(self._keys)

    def _start_postgres(self) -> str:
        given = os.environ.get("HMS_DATABASE_URL")
        if given:
            return given
        self._say("starting Postgres")
        self._postgres = Postgres(self._data / "postgres")
        return self._postgres.url

    def _start_redis(self) -> str:
        given = os.environ.get("HMS_REDIS_URL")
        if given:
            return given
        port = self._ports.get("redis")
        binary = shutil.which("redis-server")
        if binary is None:
            self._say("starting a small stand-in for Redis (redis-server is not installed)")
            command = [sys.executable, "-m", "hms_mgt.local.fake_redis", str(port)]
        else:
            self._say("starting Redis")
            command = [binary, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--appendonly", "no"]
        self._children.start(Spec("redis", command, {}))
        return f"redis://127.0.0.1:{port}/0"

    def _start_gov(self) -> str:
        given = os.environ.get("HMS_GOV_URL")
        if given:
            return given
        self._say("starting HMS-GOV")
        port = self._ports.get("gov")
        command = [sys.executable, "-m", "hms_gov", "serve", "--port", str(port)]
        keys = [self._keys / "gov.key", *sorted(self._keys.glob("gov-*.key"))]
        self._children.start(Spec("gov", command, {"HMS_GOV_KEY": ",".join(map(str, keys))}))
        return f"http://127.0.0.1:{port}"

    def _api_port(self) -> int:
        wanted = self._options.port or self._ports.get("api")
        if not is_free(wanted):
            raise Failed(f"port {wanted} is taken; choose another with --port, or --port 0 for a free one")
        return wanted

    def _start_mgt(self, there: Endpoints) -> None:
        self._say("starting HMS-MGT")
        environment = {
            "HMS_DATABASE_URL": there.database_url,
            "HMS_REDIS_URL": there.redis_url,
            "HMS_GOV_URL": there.gov_url,
            "HMS_MGT_URL": there.mgt_url,
            "HMS_KEYS": str(self._keys),
            "HMS_DATA": str(self._data),
            "HMS_AUDIT_WITNESS": str(self._data / "audit-heads.jsonl"),
            "HMS_ORCHESTRATOR": "local",
            "HMS_HOST": "127.0.0.1",
            "HMS_PORT": there.mgt_url.rpartition(":")[2],
        }
        for part in ("api", "worker"):
            self._children.start(Spec(part, [sys.executable, "-m", "hms_mgt", part], environment))

    def _signer(self) -> Signer:
        try:
            return read_keys(self._keys)[0]
        except ValueError as error:
            raise Failed(f"{self._keys}: {error}") from None

    async def _seed(self, database_url: str) -> dict[str, str]:
        db = Database(database_url, self._signer())
        try:
            return await seed.seed(db, self._data, demo=self._options.demo, now=datetime.now(UTC))
        finally:
            await db.close()

    def _await_ready(self, there: Endpoints, token: str, stop: threading.Event) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        with httpx.Client(timeout=5) as client:
            while not stop.is_set() and not self._ready(client, there, token):
                if time.monotonic() > deadline:
                    raise Failed(f"not everything answered within {_READY_WITHIN_S:.0f} s; see {self._data}/logs")
                self._children.watch()
                time.sleep(0.05)

    def _ready(self, client: httpx.Client, there: Endpoints, token: str) -> bool:
        try:
            for url in (f"{there.gov_url}/livez", f"{there.mgt_url}/readyz"):
                client.get(url).raise_for_status()
            return not self._options.demo or self._fleet_ready(client, there, token)
        except (httpx.HTTPError, Unavailable):
            return False

    def _fleet_ready(self, client: httpx.Client, there: Endpoints, token: str) -> bool:
        """Tell whether all instances reported and answer. Only MGT sees the token, and no URL is believed."""
        mine = {"Authorization": f"Bearer {token}"}
        fleet = client.get(f"{there.mgt_url}/api/instance", headers=mine).raise_for_status().json()["items"]
        live = [one for one in fleet if one["status"] == "LIVE" and _instant(one["last_seen"]) > self._started]
        laid_out = list(home.homes(self._data))
        return len(live) >= len(laid_out) > 0 and all(client.get(one.url) for one in laid_out)

    def _report(self, there: Endpoints, tokens: dict[str, str]) -> None:
        if not self._options.demo:
            # A URL from outside may hold a password; whoever gave it knows it.
            known = there.database_url if self._postgres is not None else "..."
            self._say(
                f"the tokens in {self._data}/tokens.json are for the tenant {seed.DEFAULT_TENANT}; for another one:"
                f" HMS_DATABASE_URL='{known}' HMS_KEYS='{self._keys}'"
                " hms-mgt token create --role release_manager --tenant NAME"
            )
        if self._options.ready_file is not None:
            self._write_ready(self._options.ready_file, there, tokens)
        self._say(f"ready: {there.mgt_url} (data in {self._data}; Ctrl-C ends everything)")

    def _write_ready(self, target: Path, there: Endpoints, tokens: dict[str, str]) -> None:
        instances = [
            {
                "id": one.name,
                "url": one.url,
                "conf_path": str(one.path / "conf" / "conf.yml"),
                "pid": one.sidecar.pid if one.sidecar else None,
                "served_pid": one.served.pid if one.served else None,
            }
            for one in home.homes(self._data)
        ]
        text = json.dumps({**there._asdict(), "tokens": tokens, "instances": instances}, indent=1)
        write_durably(target, text, 0o600)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text)
