"""The time of day is set under a running agent (libfaketime): nothing is applied or dropped twice, and ends hold."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conditions import lacks

from .rig import CONF, Acks, Agent, Control, Redis, until

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
if LIBRARY is None:
    lacks("not installed: libfaketime, which sets the clock")

HOUR = 3600.0
CHANGED = CONF.replace("50 ", "200 ")


class Clocked:
    """An agent whose time of day is off by as much as the test likes; its monotonic clock is the machine's."""

    def __init__(self, agent: Agent, control: Control) -> None:
        self.agent = agent
        self.control = control
        self._file = agent.directory / "offset"
        self.set(0)
        agent.environment |= {
            "LD_PRELOAD": str(LIBRARY),
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
        }
        self.beating = False
        self.a_second = 1.0
        self._beat_at = 0.0

    def set(self, off: float) -> float:
        """Put the agent's clock so far off the true time; when that was."""
        scratch = self._file.with_suffix(".new")
        scratch.write_text(f"{off:+.0f}\n")
        scratch.rename(self._file)
        return time.time()

    def text(self) -> str:
        """The file; and a word of the control plane now and then, where it is alive."""
        if self.beating and time.monotonic() > self._beat_at:
            self._beat_at = time.monotonic() + 0.5
            self.control.send(self.control.heartbeat())
        return self.agent.conf.read_text()

    def stays(self, text: str, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.text() == text
            time.sleep(0.01)

    def becomes(self, text: str, deadline: float, what: str) -> None:
        until(lambda: self.text() == text, what, deadline - time.time())

    def jumps(self) -> list[tuple[int, str]]:
        return [(round(event["seconds"]), event["judge"]) for event in self.agent.events("clock_jumped")]

    def times(self, side: str) -> int:
        """How often patch 1 came into effect, or went."""
        return sum(1 in event[side] for event in self.agent.events("effective"))


@pytest.fixture
def clocked(agent: Agent, control: Control) -> Clocked:
    return Clocked(agent, control)


@pytest.fixture
def applied(clocked: Clocked, acks: Acks) -> Iterator[Callable[[float], float]]:
    """Start the agent with one patch in effect that ends in so many seconds; the instant of its end.

    The patch comes with the snapshot, which may be old: no live word has been heard.
    """

    def apply(seconds: float) -> float:
        end = time.time() + seconds
        clocked.control.put(1, {"rate_limit_rps": 200}, end=end)
        clocked.agent.start()
        acks.wait_active(1)
        clocked.a_second = clocked.agent.a_second()
        return end

    yield apply
    assert clocked.agent.running()


def test_forward_past_the_end_with_everything_dead(
    clocked: Clocked, applied: Callable[[float], float], redis_server: Redis
) -> None:
    applied(60)
    redis_server.kill()
    at = clocked.set(HOUR)
    clocked.becomes(CONF, at + 0.3 + clocked.a_second, "the end, seen within a second")
    assert clocked.jumps() == [(3600, "wall")]
    clocked.set(0)
    clocked.stays(CONF, 1.5)
    assert clocked.jumps() == [(3600, "wall"), (-3600, "own")]
    clocked.agent.kill()
    clocked.agent.start()
    clocked.stays(CONF, 1.0)
    assert (clocked.times("gained"), clocked.times("lost")) == (1, 1)


def test_forward_and_back_under_heartbeats_moves_nothing(
    clocked: Clocked, applied: Callable[[float], float], acks: Acks
) -> None:
    end = applied(10)
    clocked.beating = True
    clocked.stays(CHANGED, 0.1)
    for off in (HOUR, 0, -HOUR, 0):
        clocked.set(off)
        clocked.stays(CHANGED, 1.2)
    assert [jump for jump, _ in clocked.jumps()] == [3600, -3600, -3600, 3600]
    report = until(lambda: acks.last() if acks.last()["clock"].get("jumps") == 4 else {}, "the report")
    assert report["clock"]["last"] == pytest.approx(3600, abs=0.1)
    assert "the time of day jumped by +3600.0 s" in report["trouble"]
    clocked.becomes(CONF, end + clocked.a_second, "the end")
    assert time.time() >= end
    until(lambda: (clocked.times("gained"), clocked.times("lost")) == (1, 1), "one beginning and one end")


@pytest.mark.parametrize("killed", [False, True], ids=["running", "restarted"])
def test_back_before_the_start_with_everything_dead(
    clocked: Clocked,
    applied: Callable[[float], float],
    redis_server: Redis,
    killed: bool,  # noqa: FBT001 - a parameter
) -> None:
    end = applied(5)  # the start and the first change are in it
    redis_server.kill()
    if killed:
        clocked.agent.kill()
    clocked.set(-HOUR)
    if killed:
        clocked.agent.start()
    clocked.stays(CHANGED, end - time.time() - 0.3)
    clocked.becomes(CONF, end + clocked.a_second, "the end")
    assert time.time() >= end
    assert clocked.jumps() == [(-3600, "own")]


def test_an_end_that_passed_while_the_agent_was_dead_and_the_clock_set_back(
    clocked: Clocked, applied: Callable[[float], float], redis_server: Redis
) -> None:
    end = applied(5)  # the start and the first change are in it
    redis_server.kill()
    clocked.agent.kill()
    clocked.set(-HOUR)
    until(lambda: time.time() > end, "the end")
    clocked.agent.start()
    clocked.becomes(CONF, time.time() + clocked.a_second, "the expired window to go")
    clocked.stays(CONF, 1.2)


def test_a_wrong_clock_used_up_a_window_and_says_so(
    clocked: Clocked, applied: Callable[[float], float], acks: Acks
) -> None:
    """Set forward before the agent starts again, while nobody speaks: the end is kept. The truth does not revive it."""
    applied(60)
    clocked.agent.kill()
    clocked.set(HOUR)
    clocked.agent.start()
    clocked.becomes(CONF, time.time() + 5, "the end by the new time")
    clocked.set(0)
    clocked.beating = True
    clocked.stays(CONF, 1.5)
    until(lambda: "[1] ended early by a clock set forward" in acks.last()["trouble"], "words about it")
    assert clocked.agent.events("clock_settled")
    clocked.control.put(2, {"rate_limit_rps": 120})
    until(lambda: "120" in clocked.text(), "what is submitted anew")


def test_a_clock_that_was_never_set_takes_the_control_planes_word(clocked: Clocked, acks: Acks) -> None:
    clocked.set(-1_000_000)
    clocked.agent.start()
    clocked.beating = True
    start = time.time() + 2
    clocked.control.put(1, {"rate_limit_rps": 200}, start=start, end=start + 1.5)
    clocked.stays(CONF, start - time.time() - 0.3)
    clocked.becomes(CHANGED, start + 1, "the start")
    clocked.becomes(CONF, start + 2.5, "the end")
    assert time.time() >= start + 1.4
    assert [judge for _, judge in clocked.jumps()] == ["signed"]
    clocked.set(0)
    until(lambda: acks.last()["clock"]["judge"] == "wall", "the right time to be believed")
