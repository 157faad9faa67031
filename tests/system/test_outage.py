"""Windows end on time with everything dead (promises 2, 8 and 17): no up, API, worker, GOV, Redis or Postgres.

Afterwards the system, started again on the same data directory, goes on where it was.
"""

import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

from .system import Instance, System, alive, await_instant, kill, path_of, until, window_end

_WITHIN_S = 1.0


def instances_back(system: System, limit: int, confs: dict[str, bytes]) -> bool:
    """Tell whether every instance shows its limit and, of those known before, the very bytes."""
    return all(
        seen.limit == str(limit) and confs.get(name, seen.conf) == seen.conf and b"rate_limit_rps: 50 " in seen.conf
        for name, seen in system.sight().items()
    )


def goes_on(system: System, patch_id: int, confs: dict[str, bytes]) -> None:
    """Start the system again: the patch ended, the fleet is as it was."""
    system.start()
    done = system.reaches(patch_id, "EXPIRED")
    assert path_of(done)[-3:] == ["APPLIED", "REVERTING", "EXPIRED"]
    until("three instances are live", system.fleet, lambda fleet: [one["status"] for one in fleet] == ["LIVE"] * 3)
    assert {name: seen.conf for name, seen in system.sight().items()} == confs
    assert system.shows(50)


def test_promise_2_a_window_ends_within_a_second_with_everything_but_the_sidecars_dead(system: System) -> None:
    confs = {name: seen.conf for name, seen in system.sight().items()}
    changes = {"rate_limit_rps": 180, "replicas": 4, "logging": {"access": True}, "search.languages": None}
    patch_id = system.apply(changes, {"start": "now", "duration": "9s"})
    end = window_end(system.patch(patch_id))
    system.crash()
    assert system.shows(180)
    assert len(system.instances()) == 4
    assert time.time() < end, "the machine was too slow for this window"
    await_instant(end - 0.5)
    assert system.shows(180)
    assert time.time() < end
    until("every instance is back", lambda: instances_back(system, 50, confs), bool, end + _WITHIN_S - time.time())
    assert end <= time.time()
    goes_on(system, patch_id, confs)


class Sidecar(NamedTuple):
    """A sidecar as it was started: enough to start it again by hand, as an operator's supervisor would."""

    instance: Instance
    command: list[str]
    environment: dict[str, str]
    directory: Path

    @classmethod
    def of(cls, instance: Instance) -> "Sidecar":
        process = Path("/proc") / str(instance.sidecar)
        environment = dict(
            pair.decode().split("=", 1) for pair in (process / "environ").read_bytes().split(b"\0") if pair
        )
        command = [word.decode() for word in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
        return cls(instance, command, environment, (process / "cwd").readlink())

    def start(self) -> subprocess.Popen[bytes]:
        with (self.instance.home / "sidecar.log").open("ab") as log:
            return subprocess.Popen(
                self.command, env=self.environment, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )


@pytest.fixture
def by_hand() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes started by the test itself; what is left of them is ended after it."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_promise_2_a_restarted_sidecar_ends_a_past_window_within_a_second_of_its_start(
    system: System, by_hand: list[subprocess.Popen[bytes]]
) -> None:
    confs = {name: seen.conf for name, seen in system.sight().items()}
    patch_id = system.apply({"rate_limit_rps": 140, "search.page_size": 99}, {"start": "now", "duration": "5s"})
    end = window_end(system.patch(patch_id))
    sidecars = [Sidecar.of(one) for one in system.instances()]
    system.crash()
    for one in sidecars:
        sidecar = psutil.Process(one.instance.sidecar)
        kill(sidecar)
        until("the sidecar is dead", partial(alive, sidecar), lambda lives: not lives, 10)
    await_instant(end + 0.5)
    assert system.shows(140), "nobody is there to end the window"
    for one in sidecars:
        by_hand.append(one.start())
        look = _Look(system, one.instance, confs[one.instance.name])
        until(f"{one.instance.name} is back within a second of its sidecar's start", look.back, bool, _WITHIN_S)
    for process in by_hand:
        process.terminate()
        assert process.wait(10) == 0
    goes_on(system, patch_id, confs)


class _Look(NamedTuple):
    system: System
    instance: Instance
    conf: bytes

    def back(self) -> bool:
        return self.instance.conf == self.conf and self.system.limit(self.instance) == "50"
