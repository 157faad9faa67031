"""What makes a wake of an idle agent into a turn, and what does not: the real agent on a clock moved by hand."""

import json
import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from hms_svc.clock import TICK_SECONDS
from hms_svc.messages import read_message
from hms_svc.timekeeper import FAR_SECONDS

from .test_local_edits import Desk

STRANGE = [
    ("nothing", lambda _: None, True),
    ("a heartbeat", lambda desk: desk.hear(desk.control.beat(desk.now)), True),
    ("two of them", lambda desk: desk.hear(desk.control.beat(desk.now - 0.1), desk.control.beat(desk.now)), True),
    ("a heartbeat that tells of more", lambda desk: desk.hear(beat_of_more(desk)), False),
    (
        "a heartbeat from a control plane far ahead",
        lambda desk: desk.hear(desk.control.beat(desk.now + 2 * FAR_SECONDS)),
        False,
    ),
    ("a heartbeat heard before", lambda desk: desk.hear(*[desk.control.beat(desk.now)] * 2), False),
    ("conf.yml was touched", lambda desk: desk.conf.write_text(desk.conf.read_text() + "# mine\n"), False),
    ("conf.yml is gone", lambda desk: desk.conf.unlink(), False),
    ("another trust file", lambda desk: Path(desk.settings.trust).write_text("{}"), False),
    ("a message", lambda desk: desk.link.waiting.append(b"{}"), False),
    ("the time of day was set a little", lambda desk: setattr(desk.agent._keeper, "_wall", 0.02 + desk.now), False),
]


def beat_of_more(desk: Desk) -> bytes:
    desk.control.revision += 1
    return desk.control.beat(desk.now)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "desk")
    made.put(1, {"rate_limit_rps": 200})
    yield made.settle(40.0)
    made.stop()


@pytest.mark.parametrize(("act", "quiet"), [each[1:] for each in STRANGE], ids=[each[0] for each in STRANGE])
def test_a_tick_is_over_in_a_moment_only_when_nothing_is_new(
    desk: Desk, act: Callable[[Desk], None], *, quiet: bool
) -> None:
    desk.hear(desk.control.beat(desk.now))
    desk.agent._turn()
    assert desk.agent._nothing_new(math.inf)
    desk.now += 1.1
    act(desk)
    assert desk.agent._nothing_new(math.inf) == quiet


def test_the_end_of_a_window_is_due_and_no_tick_outlasts_it(desk: Desk) -> None:
    desk.put(2, {"rate_limit_rps": 300}, seconds=3.0)
    desk.settle(1.5)
    due = desk.agent._due()
    assert desk.agent._next_wake(due) <= TICK_SECONDS
    desk.now += 1.6
    assert not desk.agent._nothing_new(due)
    assert desk.agent._nothing_new(math.inf), "for no other reason"


def test_an_end_that_passes_while_redis_is_waited_for_is_not_slept_through(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.put(2, {"rate_limit_rps": 300}, seconds=200.0)
    desk.settle(199.9)
    assert "300" in desk.conf.read_text()

    def slow(_text: str, _now: float) -> bool:
        desk.now += 0.4
        return False

    monkeypatch.setattr(desk.link, "report", slow)
    desk.agent._reporter.hurry()
    desk.agent._turn()
    assert "300" in desk.conf.read_text(), "the end was after the step and before the sleep"
    assert desk.agent._next_wake(desk.agent._due()) <= 0
    desk.agent._turn()
    assert "200" in desk.conf.read_text()


def test_a_delta_taken_in_at_a_wake_is_remembered_and_then_acted_on_in_the_turn_that_follows(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    begin = desk.agent._ledger.begin

    def noting(*arguments: Any, **more: Any) -> None:
        begun.append(sorted(desk.agent._journal.patches))
        begin(*arguments, **more)

    monkeypatch.setattr(desk.agent._ledger, "begin", noting)
    desk.put(2, {"rate_limit_rps": 300})
    assert not desk.agent._nothing_new(math.inf)
    assert desk.link.inbox == []
    desk.agent._turn()
    assert "300" in desk.conf.read_text()
    assert begun == [[1, 2]]


def test_a_delta_taken_in_at_a_wake_is_remembered_even_if_no_turn_follows(desk: Desk) -> None:
    """Told to stop right then: what the last report says must be in the journal."""
    desk.put(2, {"rate_limit_rps": 300})
    assert not desk.agent._nothing_new(math.inf)
    assert desk.agent._state().revision == 2
    desk.agent._farewell()
    journal = json.loads((desk.directory / "state" / "journal.json").read_text())
    assert (journal["revision"], len(journal["patches"])) == (2, 2)


def test_a_heartbeat_keeps_the_word_fresh_and_one_after_a_silence_is_worth_a_turn(
    desk: Desk, capfd: pytest.CaptureFixture[str]
) -> None:
    desk.agent._turn()
    assert desk.agent._state().stale, "nothing came for 40 s"
    desk.hear(desk.control.beat(desk.now))
    assert not desk.agent._nothing_new(math.inf)
    desk.agent._turn()
    assert "fresh" in capfd.readouterr().err
    for _ in range(8):
        desk.now += 5.0
        desk.hear(desk.control.beat(desk.now))
        assert desk.agent._nothing_new(math.inf)
    assert not desk.agent._state().stale


def test_what_need_not_be_punctual_wakes_nobody_and_rides_on_the_next_wake(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hms_svc.source.jitter", lambda limit: limit)
    desk.settle(40.0)
    wakes: list[float] = []
    reported: list[float] = []
    asked: list[float] = []

    def report(_text: str, now: float) -> bool:
        reported.append(now)
        return True

    def snapshot(now: float) -> bytes | None:
        asked.append(now)
        return desk.link.copy

    monkeypatch.setattr(desk.link, "report", report)
    monkeypatch.setattr(desk.link, "snapshot", snapshot)
    while len(asked) < 3:
        due = desk.agent._due()
        rides = min(due, desk.agent._rides())
        desk.now += desk.agent._next_wake(due)
        wakes.append(desk.agent._clock.now())
        if not desk.agent._nothing_new(rides):
            desk.agent._turn()
    assert {round(later - earlier, 3) for earlier, later in pairwise(wakes)} == {TICK_SECONDS}
    assert {round((later - earlier) / TICK_SECONDS, 3) for earlier, later in pairwise(reported)} == {4}
    assert {round((later - earlier) / TICK_SECONDS, 3) for earlier, later in pairwise(asked)} == {11}
    assert max(later - earlier for earlier, later in pairwise(asked)) <= 15.0


def test_a_snapshot_is_verified_once_while_it_stays_the_same_and_the_keys_do(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = []

    def counting(raw: bytes, *more: object) -> object:
        verified.append(raw)
        return read_message(raw, *more)  # type: ignore[arg-type]

    monkeypatch.setattr("hms_svc.hearing.read_message", counting)
    desk.settle(40.0)
    assert verified == []
    desk.link.copy = (desk.link.copy or b"")[:-1]
    desk.settle(40.0)
    assert len(verified) >= 2, "one that is refused is refused each time"
    desk.link.copy = desk.control.copy(desk.now)
    verified.clear()
    desk.settle(40.0)
    assert len(verified) == 1
    desk.agent._hearing.believe(desk.agent._keyring.trust, desk.agent._clock.now())
    desk.settle(20.0)
    assert len(verified) == 2
