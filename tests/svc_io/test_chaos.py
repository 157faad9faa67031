"""Everything at once: patches, rollbacks, kills, edits and broken tools at random, and what must hold in between.

A seeded run of 20 s, of `HMS_CHAOS_SECONDS`, or of 8 minutes with HMS_THOROUGH=1; `HMS_CHAOS_SEED` chooses another one.
"""

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.conditions import THOROUGH

from .lookout import Lookout
from .rig import Agent, Control, Redis, free_port, until
from .storm import Storm
from .world import BASE, MODE, TEMPLATE, Fault, World, usable

SECONDS = float(os.environ.get("HMS_CHAOS_SECONDS", "480" if THOROUGH else "20"))
SEED = int(os.environ.get("HMS_CHAOS_SEED", "4"))
STORM_SECONDS = 5.0
SETTLED_SECONDS = 15.0  # a check that failed for 3 s is asked again 4 s later, Redis is dialled again within a second
MOST_LATE_SECONDS = 1.0
BLAME_SECONDS = 4.0  # so long after a fault a patch may be blamed: the deadline has to pass, and then a pause
LONG_SECONDS = 0.5  # a machine that stands still for so long excuses a process that does not answer in time
MOST_MODES_LOST = 2

Reports = list[tuple[float, dict[str, Any]]]


@pytest.fixture
def world(tmp_path: Path, redis_server: Redis, control: Control, new_agent: Callable[..., Agent]) -> Iterator[World]:
    home, port = tmp_path / "served", free_port()
    home.mkdir()
    (home / "template").write_text(TEMPLATE)
    agent = new_agent(
        HMS_PIDFILE=str(home / "pid"),
        HMS_RENDER=f"{home}/template:{home}/rendered.conf",
        HMS_CHECK=f"sh -c 'test ! -e {home}/no' check {{conf}}",
        HMS_PROBE_URL=f"http://127.0.0.1:{port}/",
        HMS_PROBE_HEADER="X-Conf: {{hms.conf_sha256}}",
        HMS_CONFIRM_TIMEOUT="1.5",
        HMS_BAKE="2",
    )
    agent.conf.write_text(BASE)
    agent.conf.chmod(MODE)
    if SEED % 2:  # conf.yml is a link, as in a ConfigMap
        (agent.directory / "data").mkdir()
        agent.conf.rename(agent.directory / "data" / "conf.yml")
        agent.conf.symlink_to("../data/conf.yml")
    made = World(home, redis_server, agent, control, SEED)
    until((home / "pid").exists, "the served process")
    yield made
    made.stop_serving()


class Ear(threading.Thread):
    """Takes the reports as they come, for Redis is flushed now and then, and lets the heart beat."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.over = threading.Event()
        self.reports: Reports = []
        self._seen = "-"

    def run(self) -> None:
        beat_at = 0.0
        while not self.over.wait(0.02):
            with contextlib.suppress(redis.RedisError, ValueError, OSError):
                self._listen()
            if time.monotonic() > beat_at:
                beat_at = time.monotonic() + 1.0
                self.world.beat()

    def _listen(self) -> None:
        found: Any = self.world.redis.client.xrange("ack::IACB", min=self._seen)
        for key, fields in found:
            self._seen = f"({key.decode()}"
            self.world.last_report = int(key.partition(b"-")[0]) / 1000 + 0.001, json.loads(fields[b"m"])
            self.reports.append(self.world.last_report)


def settle(world: World, reports: Reports) -> float:
    """Wait until everything is as it should be; how long that took."""
    began = time.monotonic()
    while amiss := wrong(world, reports[-1][1]):
        assert time.monotonic() - began < SETTLED_SECONDS, f"wrong for {SETTLED_SECONDS:g} s: {amiss}"
        time.sleep(0.01)
    return time.monotonic() - began


def wrong(world: World, last: dict[str, Any]) -> dict[str, Any]:
    """What is not as it should be, going by the last report."""
    failed = {one["patch_id"] for one in last["failed"]}
    active = [one.id for one in world.in_force(failed)]
    text = world.agent.conf.read_text()
    looks = {
        "text": (not usable(text) or not world.fits(text, failed)) and (text, world.edits, world.shared),
        "loaded": (world.home / "loaded").read_text() != text,
        "phase": last["phase"] == "applying",
        "trouble": last["trouble"],
        "active": last["active"] != active and (last["active"], active),
    }
    return {name: found for name, found in looks.items() if found} or world.undressed(text)


@pytest.mark.timeout(int(SECONDS) * 3 + 60)
def test_whatever_happens_it_comes_out_right(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.control.client = world.redis.client
    world.agent.start()
    world.alive_since = time.time()
    storm, lookout, ear = Storm(world), Lookout(world), Ear(world)
    lookout.start()
    ear.start()
    settled: list[float] = []
    try:
        until(lambda: ear.reports, "the first report")
        began = time.monotonic()
        while time.monotonic() - began < SECONDS:
            storm.blow(STORM_SECONDS)
            settled.append(settle(world, ear.reports))
    finally:
        lookout.over = True
        ear.over.set()
        lookout.join()
        ear.join()
        with capsys.disabled():
            late = sorted(lookout.late.values())[-3:]
            story = f"{world.number} patches, {len(settled)} storms, settled after {max(settled, default=0):.1f} s"
            print(f"[{story}; latest ends {[round(x, 3) for x in late]}; {storm.did}]", end=" ")  # noqa: T201
    check_effect(ear.reports, (world.home / "loads").read_text())
    check_revisions(ear.reports, world.forgot)
    long_stalls = [stall for stall in lookout.stalls if stall.ended - stall.began > LONG_SECONDS]
    assert unjustly_blamed(world, long_stalls) == []
    assert lookout.modes <= world.modes
    assert world.modes_lost <= MOST_MODES_LOST
    assert world.agent.events("error") == []
    assert lookout.early == {}
    assert {number: late for number, late in lookout.late.items() if late > MOST_LATE_SECONDS} == {}
    assert [path.name for path in (*world.conf.parent.iterdir(), *world.home.iterdir()) if "hms-new" in path.name] == []


def check_effect(reports: Reports, loads: str) -> None:
    """`effective` only after the served process loaded a file with that patch."""
    first: dict[int, float] = {}
    for line in loads.splitlines():
        at, *marks = line.split()
        for mark in marks:
            first.setdefault(int(mark.removeprefix("mark_")), float(at))
    for arrived, report in reports:
        for receipt in report["receipts"]:
            if receipt["stage"] == "effective":
                assert first.get(receipt["patch_id"], float("inf")) <= arrived, receipt


def check_revisions(reports: Reports, forgot: list[Fault]) -> None:
    """Only forward, but for the times when the journal was lost or could not be written."""
    for (before, earlier), (after, later) in itertools.pairwise(reports):
        if not any(one.began < after and before - 1 < one.ended for one in forgot):
            assert earlier["revision"] <= later["revision"]


def unjustly_blamed(world: World, stalls: list[Fault]) -> list[dict[str, Any]]:
    """Patches said to have failed when nothing was wrong with anything."""
    excuses = [*world.faults, *stalls]
    return [
        event
        for event in world.agent.events("failed")
        if event["blamed"] and not any(one.began < _epoch(event) < one.ended + BLAME_SECONDS for one in excuses)
    ]


def _epoch(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["at"]).timestamp()
