"""The real `hms-gov serve`, started on a free port, asked over HTTP and ended."""

import base64
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
from nacl.signing import SigningKey

from hms_gov import settings
from hms_svc import wire

from .samples import ALLOW, body, write_policy

REPOSITORY = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "hms_gov", "serve", "--port", "0"]


class Service:
    """A running `hms-gov serve`; `lines` are the JSON log lines read so far."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        self.stderr: IO[str] = self.process.stderr
        self.first: dict[str, Any] = self.line()
        self.url = f"http://127.0.0.1:{self.first['port']}"

    def line(self) -> dict[str, Any]:
        line: dict[str, Any] = json.loads(self.stderr.readline())
        return line

    def end(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float, str]:
        """Exit code, seconds it took, and what was left on stderr."""
        began = time.monotonic()
        self.process.send_signal(number)
        out, rest = self.process.communicate(timeout=10)
        assert out == ""
        return self.process.returncode, time.monotonic() - began, rest

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "gov.key"
    path.write_text(wire.dump_signing_key(SigningKey.generate()))
    path.chmod(0o600)
    return path


@pytest.fixture
def services() -> Iterator[list[Service]]:
    started: list[Service] = []
    yield started
    for service in started:
        service.close()


def refused(*arguments: str) -> str:
    """What the operator reads when the service does not start."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HMS_")}
    environment["TERMINAL_WIDTH"] = "300"
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def test_it_answers_signed_follows_its_policy_and_ends_promptly(
    tmp_path: Path, key_file: Path, services: list[Service]
) -> None:
    policy = write_policy(tmp_path / "policy", main=ALLOW + 'deny contains "not now" if input.priority > 5\n')
    service = Service("--key", str(key_file), "--policy", str(policy))
    services.append(service)
    public = wire.load_signing_key(key_file.read_text()).verify_key
    assert base64.b64decode(service.first["public"]) == bytes(public)

    with httpx.Client(base_url=service.url) as client:
        assert client.get("/livez").json() == {"status": "ok"}
        first = client.post("/decisions", json=body(changes={"secret_knob": "hunter2"})).json()
        assert wire.unseal(first["decision"], wire.DECISION, wire.Pins((public,)))["verdict"] == "allow"
        write_policy(policy, main="package hms.patch\n\nallow = {\n")
        second = client.post("/decisions", json=body()).json()
        assert wire.unseal(second["decision"], wire.DECISION, wire.Pins((public,)))["verdict"] == "deny"
        assert "main.rego line 3" in second["reasons"][0]
        assert client.get("/livez").status_code == 200
        code, seconds, logged = service.end()  # with the client's connection still open

    assert code == 0
    assert seconds < 2
    lines = [json.loads(line) for line in logged.splitlines()]
    assert [(line["event"], line["verdict"], line["patch_id"]) for line in lines] == [
        ("decision", "allow", 784),
        ("decision", "deny", 784),
    ]
    for secret in ("hunter2", key_file.read_text().strip()):
        assert secret not in logged + json.dumps(service.first)


def test_ctrl_c_is_a_clean_end_too(key_file: Path, services: list[Service]) -> None:
    services.append(Service("--key", str(key_file)))
    assert services[0].end(signal.SIGINT)[::2] == (0, "")


def test_what_an_operator_should_mend_is_said_at_the_start(
    tmp_path: Path, key_file: Path, services: list[Service]
) -> None:
    key_file.chmod(0o644)
    services.append(Service("--key", str(key_file), "--policy", str(write_policy(tmp_path / "p", bad="package"))))
    told = [services[0].line() for _ in range(2)]
    assert {line["level"] for line in told} == {"warning"}
    assert "0644" in told[0]["detail"]
    assert "bad.rego line 1" in told[1]["detail"]


def test_a_missing_key_refuses_to_start_and_says_how_to_make_one(tmp_path: Path) -> None:
    said = refused("--key", str(tmp_path / "none"))
    assert "does not exist" in said
    assert "umask 077" in said


def test_a_malformed_key_refuses_to_start(tmp_path: Path) -> None:
    (tmp_path / "gov.key").write_text("not base64 at all")
    said = refused("--key", str(tmp_path / "gov.key"))
    assert "is not the base64 of a 32-byte seed" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("content", [b"", b"not base64 at all", b"c2hvcnQ=", b"\xff\xfe", b"QUJD" * 30, b"\0"])
def test_a_malformed_key_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "gov.key"
    file.write_bytes(content)
    with pytest.raises(settings.UnusableError) as error:
        settings.read_key(file)
    assert str(error.value) == f"the key file {file} is not the base64 of a 32-byte seed on one line"


def test_a_missing_policy_folder_or_a_taken_port_refuses_to_start(
    tmp_path: Path, key_file: Path, services: list[Service]
) -> None:
    assert "is not a directory" in refused("--key", str(key_file), "--policy", str(tmp_path / "none"))
    services.append(Service("--key", str(key_file)))
    assert "cannot listen" in refused("--key", str(key_file), "--port", str(services[0].first["port"]))


def test_two_keys_sign_together_and_one_twice_is_no_pair(
    tmp_path: Path, key_file: Path, services: list[Service]
) -> None:
    second = tmp_path / "gov-2.key"
    second.write_text(wire.dump_signing_key(SigningKey.generate()))
    second.chmod(0o600)
    publics = tuple(wire.load_signing_key(path.read_text()).verify_key for path in (key_file, second))
    service = Service("--key", f"{key_file},{second}")
    services.append(service)
    assert service.first["keyid"] == ",".join(map(wire.key_id, publics))
    answer = httpx.post(f"{service.url}/decisions", json=body()).json()
    assert wire.unseal(answer["decision"], wire.DECISION, wire.Pins(publics, 2))["verdict"] == "allow"
    with pytest.raises(wire.Refused, match="must carry 1"):
        wire.unseal(answer["decision"], wire.DECISION, wire.Pins(publics))
    assert "stands there twice" in refused("--key", f"{key_file},{key_file}")
