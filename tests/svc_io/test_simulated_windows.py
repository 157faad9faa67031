"""Windows by the thousand on a clock moved by hand: the real agent and files; the link is a fake that holds messages.

Half of the rounds have everything else dead: no link after the first snapshot, and restarts from the journal. In the
others somebody sets the time of day to and fro, which under heartbeats changes nothing. The expected file is worked out
here, with a merge of its own. 500 windows by default, 10,000 with HMS_THOROUGH=1.
"""

import bisect
import contextlib
import json
import math
import os
import random
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from hms_svc.agent import Agent
from hms_svc.clock import Clock
from hms_svc.errand import Bell
from hms_svc.keyring import open_keyring
from hms_svc.messages import delta_payload, heartbeat_payload, snapshot_payload
from hms_svc.settings import Settings, read
from hms_svc.wire import STREAM, seal
from tests.conditions import THOROUGH

from .rig import Control

WINDOWS = 10_000 if THOROUGH else 500
A_ROUND = 50
SECONDS = 60.0
BASE: dict[str, Any] = {"x": 5, "limits": {"a": 1, "b": 2}, "list": [1, 2]}
CHANGES: list[dict[str, Any]] = [
    {"x": 6},
    {"x": None},
    {"limits": {"a": 7}},
    {"limits": {"a": None, "c": 3}},
    {"limits": 9},
    {"list": [3]},
    {"y": {"z": 1}},
    {"y": 1, "x": 8},
    {"limits": {"b": {"deep": True}}},
]


class Window(NamedTuple):
    """A patch, when the agent is told of it, and when the stream drops it."""

    id: int
    changes: dict[str, Any]
    priority: int
    start: float
    end: float
    told: float
    dropped: float

    @property
    def begins(self) -> float:
        return max(self.start, self.told)

    @property
    def ends(self) -> float:
        return min(self.end, self.dropped)


class FakeLink:
    """What a Link shows the agent: messages that have arrived, and Redis' copy, or nothing when it is dead."""

    def __init__(self) -> None:
        self.up = self.tried = self.answered = True
        self.subscriptions = 1
        self.waiting: list[bytes] = []
        self.copy: bytes | None = None

    def die(self) -> None:
        self.up = self.answered = False
        self.copy = None

    @property
    def inbox(self) -> list[bytes]:
        return self.waiting

    def gather(self, _now: float) -> None: ...

    @property
    def listener(self) -> int | None:
        return 0 if self.up else None

    def receive(self, _now: float) -> list[bytes]:
        arrived, self.waiting = self.waiting, []
        return arrived

    def snapshot(self, _now: float) -> bytes | None:
        return self.copy

    def report(self, _text: str, _now: float) -> bool:
        return self.up

    def tend(self, _now: float) -> None: ...

    def close(self) -> None: ...

    def wake_at(self) -> float:
        return float("inf")


class SimulatedControl(Control):
    """Signs at instants of the simulated clock."""

    def message(self, put: list[Window], ended: list[int], at: float) -> bytes:
        self.revision += 1
        items = [self._item(window) for window in put]
        for window, item in zip(put, items, strict=True):
            self.entries[window.id] = item
        for patch_id in ended:
            self.entries.pop(patch_id, None)
        payload = delta_payload(self.tenant, self.service, self.revision, at, items, ended)
        return json.dumps(seal(STREAM, payload, self.mgt)).encode()

    def _item(self, window: Window) -> dict[str, Any]:
        return self.entry(
            window.id, window.changes, start=window.start, end=window.end, priority=window.priority, order=window.id
        )

    def copy(self, at: float) -> bytes:
        entries = list(self.entries.values())
        payload = snapshot_payload(self.tenant, self.service, self.revision, at, entries)
        return json.dumps(seal(STREAM, payload, self.mgt)).encode()

    def beat(self, at: float) -> bytes:
        payload = heartbeat_payload(self.tenant, at, {self.service: self.revision})
        return json.dumps(seal(STREAM, payload, self.mgt)).encode()


class Expected:
    """The oracle: what the file must say at any instant, from the windows alone."""

    def __init__(self, windows: list[Window]) -> None:
        self._windows = sorted(windows, key=lambda window: (window.priority, window.id))
        lasting = [window for window in windows if window.begins < window.ends]
        self.edges = sorted({edge for window in lasting for edge in (window.begins, window.ends)})

    def at(self, instant: float) -> dict[str, Any]:
        document = BASE
        for window in self._windows:
            if window.begins <= instant < window.ends:
                document = merged(document, window.changes)
        return document

    def lately(self, now: float) -> list[dict[str, Any]]:
        """Everything it may say at `now`: what held within the last second."""
        first = bisect.bisect_right(self.edges, now - 1.0)
        last = bisect.bisect_right(self.edges, now)
        return [self.at(now - 1.0), *(self.at(edge) for edge in self.edges[first:last])]


def merged(under: Any, over: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386, word for word."""
    result = dict(under) if isinstance(under, dict) else {}
    for key, value in over.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merged(result.get(key), value)
        else:
            result[key] = value
    return result


def drawn(rng: random.Random, zero: float, count: int, *, alive: bool) -> list[Window]:
    """Windows at random, many of them beginning and ending at one instant with others."""
    meeting = [round(rng.uniform(1, SECONDS), 3) for _ in range(6)]

    def instant() -> float:
        return rng.choice(meeting) if rng.random() < 0.3 else round(rng.uniform(0, SECONDS), 3)

    windows = []
    for number in range(1, count + 1):
        start, end = sorted((instant(), instant()))
        end = end if end > start else start + 0.5
        told = round(rng.uniform(0, start), 3) if alive and rng.random() < 0.7 else 0.0
        told = round(rng.uniform(start, end), 3) if alive and rng.random() < 0.1 else told
        dropped = round(rng.uniform(told, end + 3), 3) + 0.001 if alive and rng.random() < 0.3 else math.inf
        windows.append(
            Window(number, rng.choice(CHANGES), rng.randrange(4), zero + start, zero + end, zero + told, zero + dropped)
        )
    return windows


def let_go(agent: Agent, bell: Bell) -> None:
    """Close what would end with the agent's process."""
    agent._listener.close()
    for descriptor in (bell.reader, bell.writer, *agent._reserve._held):
        os.close(descriptor)


class Round:
    """One agent with its windows, from zero to a while after the last end."""

    def __init__(self, directory: Path, seed: int, *, alive: bool) -> None:
        self.rng = random.Random(seed)  # noqa: S311 - not a secret
        self.zero = self.now = float(int(time.time()))
        self.alive = alive
        self.windows = drawn(self.rng, self.zero, A_ROUND, alive=alive)
        self.expected = Expected(self.windows)
        self.control = SimulatedControl()
        self.link = FakeLink()
        self.settings = settings_in(directory, self.control)
        self.late: dict[int, float] = {}
        self.restarts = 0
        self.since = self.zero  # this agent's start
        self.off = 0.0  # how far off somebody has set the time of day
        self.acts = self._planned()
        self._start()

    def _planned(self) -> list[tuple[float, str, int]]:
        acts = []
        for window in self.windows:
            if window.told > self.zero:
                acts.append((window.told, "put", window.id))
            if window.dropped < math.inf:
                acts.append((window.dropped, "drop", window.id))
        if self.alive:
            acts += [(self.zero + 5.0 * beat, "beat", 0) for beat in range(1, 13)]
            for _ in range(3):
                at = self.zero + self.rng.uniform(6, 50)
                acts += [(at, "set", self.rng.randrange(-7200, 7200)), (at + self.rng.uniform(0.1, 9), "set", 0)]
        else:
            acts += [(self.zero + self.rng.uniform(1, SECONDS), "restart", 0) for _ in range(4)]
        return sorted(acts)

    def _start(self) -> None:
        self.bell = Bell()
        clock = Clock(lambda: self.now - self.zero + 1000.0, lambda: self.now + self.off)
        self.due = 0.0
        ring = open_keyring(self.settings, self.now)
        self.agent = Agent(self.settings, ring, self.bell, self.link, clock)  # type: ignore[arg-type] # the fake

    def play(self) -> None:
        self.control.message([window for window in self.windows if window.told == self.zero], [], self.now)
        self.link.copy = self.control.copy(self.now)
        self._look()
        if not self.alive:
            self.link.die()
        while self.now < self.zero + SECONDS + 5:
            while self.acts and self.acts[0][0] <= self.now:
                _, act, number = self.acts.pop(0)
                self._act(act, number)
            self._look()
            wake = self.now + max(0.0, self.agent._next_wake(self.due)) + 0.001
            self.now = min([wake, *(at for at, _, _ in self.acts[:1])])
        self._close()

    def _act(self, act: str, number: int) -> None:
        if act == "restart":
            self._close()
            self.restarts += 1
            self.now += self.rng.uniform(0, 3)
            self.since = self.now
            self._start()
        elif act == "set":
            self.off = float(number)
        elif act == "beat":
            self.link.waiting.append(self.control.beat(self.now))
        else:
            put = [window for window in self.windows if act == "put" and window.id == number]
            self.link.waiting.append(self.control.message(put, [] if put else [number], self.now))
            self.link.copy = self.control.copy(self.now)

    def _close(self) -> None:
        let_go(self.agent, self.bell)

    def _look(self) -> None:
        if not self.agent._nothing_new(self.due):
            self.agent._turn()
            self.agent._answer()
            self.due = self.agent._due()
        text = Path(self.settings.conf).read_text(encoding="utf-8")
        assert yaml.safe_load(text) in self.expected.lately(self.now), f"at {self.now - self.zero:.3f}"
        written = self.agent._journal.written
        inside = written.ids if written else ()
        for window in self.windows:
            lasts = window.begins < window.end <= min(window.dropped, self.now)
            if lasts and window.id not in self.late and window.id not in inside:
                self.late[window.id] = self.now - max(window.end, self.since)


def settings_in(directory: Path, control: Control) -> Settings:
    directory.mkdir()
    (directory / "state").mkdir()
    (directory / "conf.yml").write_text(yaml.safe_dump(BASE))
    (directory / "trust.json").write_text(control.trust())
    return read(
        {
            "TENANT": control.tenant,
            "HMS_SERVICE": control.service,
            "HMS_VERSION": "2.1.0",
            "HMS_INSTANCE": "i-1",
            "HMS_CONF": f"{directory}/conf.yml",
            "HMS_STATE": f"{directory}/state",
            "HMS_TRUST": f"{directory}/trust.json",
        }
    )


@pytest.mark.parametrize("alive", [True, False], ids=["linked", "dead"])
@pytest.mark.timeout(1800)
def test_windows_on_a_simulated_clock(tmp_path: Path, alive: bool) -> None:  # noqa: FBT001 - a parameter
    rounds = WINDOWS // A_ROUND // 2
    late: list[float] = []
    restarts = jumps = 0
    with open(os.devnull, "wb") as quiet, swallowed(quiet.fileno()):  # noqa: PTH123 - a descriptor is wanted
        for number in range(rounds):
            one = Round(tmp_path / f"{number}", seed=number * 2 + alive, alive=alive)
            one.play()
            assert len(one.late) == sum(window.begins < window.end <= window.dropped for window in one.windows)
            late += one.late.values()
            restarts += one.restarts
            jumps += one.agent._keeper.jumps
    late.sort()
    sys.stdout.write(
        f"{WINDOWS // 2} windows, {restarts} restarts, {jumps} steps of the clock; "
        f"gone after the end, ms: p50 {late[len(late) // 2] * 1000:.0f}, "
        f"p99 {late[len(late) * 99 // 100] * 1000:.0f}, max {late[-1] * 1000:.0f}\n"
    )
    assert late[-1] <= 1.0
    assert jumps >= rounds * alive


@contextlib.contextmanager
def swallowed(into: int) -> Any:
    """The agent's log goes elsewhere."""
    kept = os.dup(2)
    os.dup2(into, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
