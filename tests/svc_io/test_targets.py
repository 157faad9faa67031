"""Every example under `examples/`, run as its README says: the commands pasted, the real program, patches on top."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from .rig import Acks, Control, free_port, until

EXAMPLES = Path(__file__).parents[2] / "examples"


class Target(NamedTuple):
    """What one example shows: its port, where the limit shows in an answer, and its checker's words on a bad value."""

    port: int
    shows: str
    refusal: str
    within: float = 1.0  # how many seconds after the window's end it serves the old value again


TARGETS = {
    "nginx": Target(8081, "X-RPS-Limit: {}", 'invalid rate "rate=plentyr/s"'),
    "haproxy": Target(8083, "x-rps-limit: {}", "'plenty' is neither a number nor"),
    "gunicorn": Target(8084, "limit={} ", "rate_limit_rps must be a positive number, not 'plenty'"),
    "uvicorn": Target(8085, "limit={}", "rate_limit_rps must be a positive number, not 'plenty'"),
    "twelve-factor": Target(8086, "limit={} ", "RATE_LIMIT_RPS must be a number, not 'plenty'", 6.0),
}


class Example:
    """A copy of one example with ports and places of its own, and its README's commands running in it."""

    def __init__(self, name: str, place: Path, control: Control, redis_url: str) -> None:
        self.place, self.port = place / "there", free_port()
        source = place / name
        shutil.copytree(EXAMPLES / name, source)
        self._move(source, name)
        (place / "trust.json").write_text(control.trust())
        self.log = place / "log"
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin",
            "PYTHONPATH": str(EXAMPLES.parent),
            "HMS_TRUST": str(place / "trust.json"),
            "HMS_REDIS_URL": redis_url,
        }
        self._control = control
        self._script = self._commands(source, name)

    def _move(self, source: Path, name: str) -> None:
        """Another port, for tests run side by side."""
        fixed = str(TARGETS[name].port) if name in TARGETS else "8087"
        for path in source.rglob("*"):
            if path.is_file():
                path.write_text(
                    path.read_text().replace(f":{fixed}", f":{self.port}").replace(f" {fixed}", f" {self.port}")
                )

    def _commands(self, source: Path, name: str) -> str:
        block = re.search(r"```sh\n(.*?)```", (source / "README.md").read_text(), re.DOTALL)
        assert block, "the README has its commands in a block"
        there = re.search(r"cd (/tmp/hms-\w+)", block[1])
        assert there, "it works on a copy"
        return block[1].replace(there[1], str(self.place)).replace(f"examples/{name}", str(source))

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._shell = subprocess.Popen(
                ["bash", "-eu", "-c", self._script], env=self._environment, stdout=log, stderr=log, process_group=0
            )
        until(self._started, "the README's commands", 30)
        assert self._shell.returncode == 0, self.log.read_text()

    def _started(self) -> bool:
        """Whether the commands are through; a control plane is heard of meanwhile."""
        self._control.send(self._control.heartbeat())
        time.sleep(0.1)
        return self._shell.poll() is not None

    def answer(self) -> str:
        """Everything the target says, headers first; "" when it does not answer."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/")
        try:
            with urllib.request.urlopen(request, timeout=1) as response:  # noqa: S310 - http only
                return f"{response.headers}{response.read().decode()}"
        except urllib.error.HTTPError as refused:
            return str(refused.headers)
        except OSError:
            return ""

    def stop(self) -> None:
        pidfile = self.place / "run" / "app.pid"  # the app that has a session of its own
        groups = [self._shell.pid, *([int(pidfile.read_text())] if pidfile.exists() else [])]
        for group in groups:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def run_example(tmp_path: Path, control: Control, redis_server: object) -> Iterator[Callable[[str], Example]]:
    made: list[Example] = []

    def build(name: str) -> Example:
        example = Example(name, tmp_path, control, redis_server.url)  # type: ignore[attr-defined]
        made.append(example)
        example.start()
        return example

    yield build
    for example in made:
        example.stop()
        sys.stdout.write(example.log.read_text())


@pytest.mark.parametrize("name", TARGETS)
def test_a_patch_changes_what_the_target_does_and_its_end_brings_it_back(
    name: str, run_example: Callable[[str], Example], control: Control, acks: Acks
) -> None:
    began = time.time()
    target, example = TARGETS[name], run_example(name)
    acks.wait_active()
    before = (example.place / "conf.yml").read_text()
    put = time.time()
    end = put + max(3, 2 * (put - began))  # twice what the README's commands took: one change takes less
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    within = max(target.within, 2 * (time.time() - put))  # an ending is a change like this one
    assert target.shows.format(200) in example.answer()
    control.put(2, {"rate_limit_rps": "plenty"}, priority=1)
    failed = until(lambda: acks.last()["failed"], "the refusal")[0]
    assert (failed["patch_id"], failed["stage"]) == (2, "checked")
    assert target.refusal in failed["detail"]
    assert target.shows.format(200) in example.answer()
    until(lambda: target.shows.format(50) in example.answer(), "the end of the window", end + within - time.time())
    assert time.time() >= end
    assert (example.place / "conf.yml").read_text() == before
    acks.wait_active()


def test_an_envoy_bootstrap_is_rendered_with_its_types(
    run_example: Callable[[str], Example], control: Control, acks: Acks
) -> None:
    example = run_example("envoy")
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200, "upstream.host": "10.0.0.7 # not syntax"})
    acks.wait_active(1)
    resources = yaml.safe_load((example.place / "run" / "bootstrap.yaml").read_text())["static_resources"]
    bucket = resources["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0]
    assert bucket["typed_config"]["token_bucket"]["max_tokens"] == 200
    endpoint = resources["clusters"][0]["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    place = endpoint["address"]["socket_address"]
    assert (place["address"], place["port_value"]) == ("10.0.0.7 # not syntax", 8080)


def test_every_example_is_run() -> None:
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {*TARGETS, "envoy"}
