"""Secrets come in variables or in files that rotate, and are seen nowhere: not in a log, a report, or a child."""

import json
import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from hms_svc.address import SettingsError
from hms_svc.settings import read

from .rig import Acks, Agent, Control, Redis, free_port, until

PASSWORD, TOKEN, LATER = "p4ssw0rd-first", "hms_t0ken-first", "s3cond"
REQUIRED = {"TENANT": "IACB", "HMS_SERVICE": "API", "HMS_VERSION": "1.0.0", "HMS_TRUST": "/trust.json"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "secret"


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_its_file_each_time(file: Path, end: str) -> None:
    file.write_text(f"redis://:{PASSWORD}@r:1/2{end}")
    settings = read(REQUIRED | {"HMS_REDIS_URL_FILE": str(file)})
    assert (settings.redis.password, settings.redis.db) == (PASSWORD, 2)
    file.write_text(f"redis://:{LATER}@r:1/2{end}")
    assert (settings.redis.password, settings.redis_now().password) == (PASSWORD, LATER)
    file.write_text(TOKEN + end)
    settings = read(REQUIRED | {"HMS_TOKEN_FILE": str(file)})
    file.write_text(LATER + end)
    assert (settings.token, settings.token_now()) == (TOKEN, LATER)


def test_what_stands_in_a_variable_stays(file: Path) -> None:
    settings = read(REQUIRED | {"HMS_REDIS_URL": f"redis://:{PASSWORD}@r", "HMS_TOKEN": TOKEN})
    assert (settings.redis_now(), settings.token_now()) == (settings.redis, TOKEN)
    assert not file.exists()


@pytest.mark.parametrize("name", ["HMS_REDIS_URL", "HMS_TOKEN"])
@pytest.mark.parametrize(
    "content", [None, "", "\n", b"\xff\xfe", "http://me:s3cret@x", "two words s3cret", "s3cret\nmore"]
)
def test_a_bad_file_is_named_and_never_shown(file: Path, name: str, content: str | bytes | None) -> None:
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name == "HMS_TOKEN" and content == "http://me:s3cret@x":
        content = None
        file.unlink()
    with pytest.raises(SettingsError) as caught:
        read(REQUIRED | {f"{name}_FILE": str(file)})
    assert str(caught.value).startswith(f"{name}_FILE")
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flags", [["--token", "x"], ["--token=x"]])
def test_one_of_both_is_set(file: Path, flags: list[str]) -> None:
    file.write_text("redis://r")
    both = {"HMS_REDIS_URL": "redis://r", "HMS_REDIS_URL_FILE": str(file)}
    with pytest.raises(SettingsError, match="HMS_REDIS_URL and HMS_REDIS_URL_FILE: set one"):
        read(REQUIRED | both)
    with pytest.raises(SettingsError, match="HMS_TOKEN and HMS_TOKEN_FILE: set one"):
        read(REQUIRED | {"HMS_TOKEN_FILE": str(file)}, flags)


def test_a_password_that_rotates_is_used_at_the_next_connection(
    agent: Agent, control: Control, acks: Acks, redis_server: Redis, file: Path
) -> None:
    def rotate(password: str) -> None:
        redis_server.command("ACL", "SETUSER", "svc", "resetpass", f">{password}", "on", "~*", "&*", "+@all")
        file.write_text(f"redis://svc:{password}@127.0.0.1:{redis_server.port}/0\n")

    rotate(PASSWORD)
    del agent.environment["HMS_REDIS_URL"]
    agent.environment["HMS_REDIS_URL_FILE"] = str(file)
    agent.start()
    agent.wait_for("linked")
    file.unlink()
    redis_server.command("CLIENT", "KILL", "USER", "svc")
    until(lambda: "no such file" in json.dumps(agent.events("unlinked")), "the missing file in the log")
    rotate(LATER)
    agent.wait_for("linked", 2)
    control.put(1, {"rate_limit_rps": 60})
    acks.wait_active(1)


class FakeMgt:
    """Fake control plane over HTTP: it only remembers the tokens it was shown."""

    def __init__(self) -> None:
        self.tokens: list[str] = []


@pytest.fixture
def mgt() -> Iterator[tuple[FakeMgt, str]]:
    fake = FakeMgt()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            fake.tokens.append(self.headers["Authorization"])
            self.send_response(404 if LATER in self.headers["Authorization"] else 403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_token_that_rotates_is_used_at_the_next_request(
    new_agent: Callable[..., Agent], control: Control, file: Path, mgt: tuple[FakeMgt, str]
) -> None:
    fake, url = mgt
    file.write_text(f"{TOKEN}\n")
    agent = new_agent(HMS_MGT_URL=url, HMS_TOKEN_FILE=str(file)).start()
    agent.wait_for("linked")
    until(lambda: f"Bearer {TOKEN}" in fake.tokens, "the first token")
    agent.wait_for("mgt_unreachable")
    file.write_text(f"{LATER}\n")
    control.revision = 1
    control.send(control.heartbeat())  # there is more than Redis has, so MGT is asked again
    until(lambda: f"Bearer {LATER}" in fake.tokens, "the token that came after")


def test_no_secret_is_seen_anywhere(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, redis_server: Redis, tmp_path: Path
) -> None:
    """Promise 20: logs, reports, metrics, what is kept on disk, `ps`, what children get; also of what fails."""
    redis_server.command("ACL", "SETUSER", "svc", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    seen, port = tmp_path / "seen", free_port()
    agent = new_agent(
        HMS_REDIS_URL=f"redis://svc:{PASSWORD}@127.0.0.1:{redis_server.port}/0",
        HMS_MGT_URL=f"http://127.0.0.1:{free_port()}",
        HMS_TOKEN=TOKEN,
        HMS_CHECK=f"sh -c 'env >> {seen}; cat /proc/$$/cmdline >> {seen}'",
        HMS_LISTEN=f"127.0.0.1:{port}",
    ).start()
    control.put(1, {"rate_limit_rps": 60})
    acks.wait_active(1)
    redis_server.command("ACL", "SETUSER", "svc", "resetpass", f">{LATER}")
    redis_server.command("CLIENT", "KILL", "USER", "svc")
    agent.wait_for("unlinked", 2)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        metrics = answer.read().decode()
    ps = Path(f"/proc/{agent.pid}/cmdline").read_bytes().decode()
    words = agent.run("check").stdout + agent.run("status").stdout
    places = [*agent.state.rglob("*"), *agent.conf.parent.rglob("*")]
    kept = "".join(path.read_text(errors="replace") for path in places if path.is_file())
    everything = [agent.log_path.read_text(), json.dumps(acks.reports()), metrics, ps, words, kept, seen.read_text()]
    assert all(everything)
    for secret in (PASSWORD, TOKEN):
        assert [text for text in everything if secret in text] == []
    assert "PATH=" in seen.read_text(), "a command gets the rest of the environment"
    assert os.environ.get("HMS_TOKEN") is None
