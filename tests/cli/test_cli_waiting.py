"""The wait, with a clock that moves only when it is slept on."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hms_cli.errors import BusyError, ClientError, LostError
from hms_cli.outcome import Code, Goal, Patch
from hms_cli.waiting import INTERVAL, LOST_FOR, Clock, Wait, follow

from .fake_mgt import patch

LOST = LostError(Code.FAILED, "gone")
REFUSED = ClientError(Code.NOT_ALLOWED, "no")


class Time:
    """A clock; looking costs nothing unless `cost` says so."""

    def __init__(self) -> None:
        self.at = 100.0

    def now(self) -> float:
        return self.at

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.at += seconds

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.sleep)


def looking(*seen: str | Exception) -> Callable[[float], dict[str, Any]]:
    """What each look finds; the last one stays."""

    def steps() -> Iterator[str | Exception]:
        yield from seen
        while True:
            yield seen[-1]

    script = steps()

    def look(_left: float) -> dict[str, Any]:
        found = next(script)
        if isinstance(found, Exception):
            raise found
        return patch(found)

    return look


def test_it_ends_when_the_patch_settles() -> None:
    shown: list[tuple[str, float]] = []

    def show(seen: Patch | None, elapsed: float) -> None:
        shown.append((seen["status"] if seen else "-", round(elapsed, 1)))

    time = Time()
    last, outcome = follow(looking("QUEUED", "ROLLING_OUT", "APPLIED"), Wait(Goal.UNDERWAY, 60), show, time.clock)
    assert last is not None
    assert (last["status"], outcome.code) == ("APPLIED", Code.OK)
    assert shown == [("QUEUED", 0.0), ("ROLLING_OUT", 0.2), ("APPLIED", 0.4)]


@pytest.mark.parametrize("timeout", [0.0, 0.1, 5.0])
def test_time_is_up_and_not_a_moment_later(timeout: float) -> None:
    time = Time()
    last, outcome = follow(looking("ROLLING_OUT"), Wait(Goal.UNDERWAY, timeout), lambda *_: None, time.clock)
    assert outcome.code is Code.TIMEOUT
    assert last is not None
    assert time.at - 100 == pytest.approx(timeout)


def test_a_patch_settled_at_the_first_look_needs_no_time() -> None:
    _, outcome = follow(looking("APPLIED"), Wait(Goal.UNDERWAY, 0), lambda *_: None, Time().clock)
    assert outcome.code is Code.OK


def test_a_look_is_told_how_long_it_may_take() -> None:
    told: list[float] = []

    def look(left: float) -> dict[str, Any]:
        told.append(round(left, 1))
        return patch("QUEUED")

    follow(look, Wait(Goal.UNDERWAY, 0.5), lambda *_: None, Time().clock)
    assert told == [0.5, 0.3, 0.1, 0.0]


def test_a_lost_answer_is_shown_and_asked_for_again() -> None:
    shown: list[Patch | None] = []
    look = looking("QUEUED", LOST, LOST, "APPLIED")
    _, outcome = follow(look, Wait(Goal.UNDERWAY, 60), lambda seen, _: shown.append(seen), Time().clock)
    assert outcome.code is Code.OK
    assert [seen is None for seen in shown] == [False, True, True, False]


def test_a_loss_that_lasts_is_told() -> None:
    time = Time()
    with pytest.raises(LostError):
        follow(looking("QUEUED", LOST), Wait(Goal.UNDERWAY, None), lambda *_: None, time.clock)
    assert LOST_FOR < time.at - 100 < LOST_FOR + 3 * INTERVAL


def test_who_is_asked_to_wait_looks_later() -> None:
    time = Time()
    look = looking("QUEUED", BusyError(Code.REJECTED, "too many", after=7), "APPLIED")
    _, outcome = follow(look, Wait(Goal.UNDERWAY, 60), lambda *_: None, time.clock)
    assert outcome.code is Code.OK
    assert time.at - 100 == pytest.approx(INTERVAL + 7)


def test_time_can_be_up_without_a_single_answer() -> None:
    last, outcome = follow(looking(LOST), Wait(Goal.UNDERWAY, 1), lambda *_: None, Time().clock)
    assert last is None
    assert outcome.code is Code.TIMEOUT


def test_a_refusal_ends_the_wait_at_once() -> None:
    with pytest.raises(ClientError) as refused:
        follow(looking("QUEUED", REFUSED), Wait(Goal.UNDERWAY, 60), lambda *_: None, Time().clock)
    assert refused.value.code is Code.NOT_ALLOWED
