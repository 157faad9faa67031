"""`hms-mgt up` itself: killed during its first start, misconfigured, and what it tells to whom."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from hms_mgt.bootstrap import write_keys
from hms_mgt.local.postgres import Postgres
from hms_mgt.local.up import Endpoints, Options, _Running
from hms_mgt.orchestrators import home
from hms_mgt.orchestrators.home import Home
from hms_mgt.secret import digest

_PATIENCE_S = 60.0


def command(data: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "hms_mgt", "up", "--port", "0", "--data", str(data), *more]


def environment(**more: object) -> dict[str, str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith("HMS_")}
    return {**mine, **{name: str(value) for name, value in more.items()}}


def refused(data: Path, **more: object) -> str:
    """Start `up` where it must not start. Returns its words."""
    done = subprocess.run(
        command(data), env=environment(**more), capture_output=True, text=True, timeout=_PATIENCE_S, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@contextlib.contextmanager
def running(data: Path, **more: object) -> Iterator[tuple[dict[str, object], Path]]:
    """A system that is ready, without the demo. Yields what the ready file says, and the log of `up`."""
    log, ready = data.parent / "up.log", data.parent / "ready.json"
    with log.open("ab") as output:
        up = subprocess.Popen(
            command(data, "--ready-file", str(ready)), env=environment(**more), stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while not ready.exists():
            assert up.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield json.loads(ready.read_text()), log
    finally:
        up.terminate()
        assert up.wait(30) == 0


def test_without_gov_of_its_own_it_wants_the_keys_that_belong_to_it(tmp_path: Path) -> None:
    words = refused(tmp_path / "data", HMS_GOV_URL="http://127.0.0.1:1")
    assert "HMS_KEYS must be set" in words
    assert not (tmp_path / "data").exists(), "nothing was begun"


@pytest.mark.parametrize(
    ("gov", "lacks"), [({}, "gov.key and no mgt.key"), ({"HMS_GOV_URL": "http://127.0.0.1:1"}, "mgt.key")]
)
def test_given_keys_must_be_there(tmp_path: Path, gov: dict[str, str], lacks: str) -> None:
    (tmp_path / "trust.json").write_text("{}")
    assert f"{tmp_path}, which has no {lacks} (" in refused(tmp_path / "data", HMS_KEYS=tmp_path, **gov)


def test_a_database_that_is_not_there_is_said_in_a_line_and_all_is_ended(place: Path) -> None:
    words = refused(place / "data", HMS_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert "hms-mgt: cannot go on: " in words
    assert "refused" in words
    assert not [one for one in psutil.process_iter(["cmdline", "environ"]) if str(place) in str(one.info)]


def test_a_directory_that_cannot_be_made_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "hms-mgt: cannot go on: " in refused(tmp_path / "file" / "data")


def test_given_keys_are_used_and_the_tokens_are_of_the_default_tenant(place: Path) -> None:
    write_keys(place / "mine", gov=2, mgt=2)
    data = place / "data"
    with running(data, HMS_KEYS=place / "mine") as (ready, log):
        assert ready["trust_file"] == str(place / "mine" / "trust.json")
        assert not (data / "keys").exists()
        signs = json.loads((data / "logs" / "gov.log").read_text().splitlines()[0])["keyid"].split(",")
        assert len(set(signs)) == 2
        assert f"using the keys in {place}/mine (HMS_KEYS)" in log.read_text()
        settings = f"HMS_DATABASE_URL='{ready['database_url']}' HMS_KEYS='{place}/mine'"
        assert f"{settings} hms-mgt token create" in log.read_text()
        tokens = ready["tokens"]
        assert isinstance(tokens, dict)
        scope = "SELECT tenant FROM token WHERE hash = %s"
        with psycopg.connect(str(ready["database_url"])) as sql:
            found = {role: sql.execute(scope, (digest(token),)).fetchone() for role, token in tokens.items()}
        scoped = dict.fromkeys(("release_manager", "viewer", "approver"), ("DEFAULT",))
        assert found == {**dict.fromkeys(tokens, (None,)), **scoped}


@pytest.mark.parametrize(
    "words",
    ["making keys", "starting Redis", "starting Postgres", "migrating the database", "starting HMS-MGT"],
)
def test_killed_during_its_first_start_it_goes_on_at_the_second(place: Path, words: str) -> None:
    data = place / "data"
    with subprocess.Popen(command(data), env=environment(), stderr=subprocess.PIPE, text=True) as first:
        assert first.stderr is not None
        seen = next(line for line in first.stderr if words in line)
        first.kill()
    assert words in seen
    with running(data) as (ready, _):
        assert httpx.get(f"{ready['mgt_url']}/readyz", trust_env=False).is_success


_POSTGRES = """
import sys
from pathlib import Path
from hms_mgt.local.postgres import Postgres
Postgres(Path(sys.argv[1]))
"""


def test_a_postgres_that_was_killed_while_it_was_initialised_starts_the_next_time(place: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", _POSTGRES, str(place / "postgres")], start_new_session=True)
    deadline = time.monotonic() + _PATIENCE_S
    # From here on initdb takes half a second.
    while not [*place.rglob("PG_VERSION"), *place.rglob("pg_wal")]:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    server = Postgres(place / "postgres")
    try:
        with psycopg.connect(server.url) as sql:
            assert sql.execute("SELECT 1").fetchone() == (1,)
    finally:
        server.stop()
    assert [path.name for path in place.iterdir()] == ["postgres"], "nothing of the first attempt is left"


@contextlib.contextmanager
def listening(body: bytes, heard: list[str]) -> Iterator[str]:
    """A web server that notes the Authorization header of whoever asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization", "none"))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def test_the_viewers_token_is_for_mgt_only_and_a_reported_url_is_not_asked(tmp_path: Path) -> None:
    trap: list[str] = []
    instance: list[str] = []
    mgt: list[str] = []
    gov: list[str] = []
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    with contextlib.ExitStack() as stack:
        trap_url = stack.enter_context(listening(b"", trap))
        reported = {"items": [{"status": "LIVE", "last_seen": later, "url": trap_url}]}
        mgt_url = stack.enter_context(listening(json.dumps(reported).encode(), mgt))
        gov_url = stack.enter_context(listening(b"", gov))
        instance_url = stack.enter_context(listening(b"", instance))
        path = tmp_path / "instances" / "IACB" / "api-1"
        home.lay_out(Home(path, "IACB", "API", "1.0.0", 1, int(instance_url.rpartition(":")[2])), {"conf/conf.yml": ""})
        up = _Running(Options(tmp_path, 0, demo=True, ready_file=None), None, print)
        there = Endpoints(mgt_url, gov_url, "", "", "")
        up._await_ready(there, "secret", threading.Event())
    assert mgt == ["none", "Bearer secret"]
    assert gov == instance == ["none"]
    assert trap == []
