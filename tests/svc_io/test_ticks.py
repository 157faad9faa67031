"""What makes a tick of an idle agent into a turn, and what does not: the real agent on a clock moved by hand."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_svc.messages import read_message

from .test_local_edits import Desk

STRANGE = [
    ("nothing", lambda _: None, True),
    ("conf.yml was touched", lambda desk: desk.conf.write_text(desk.conf.read_text() + "# mine\n"), False),
    ("conf.yml is gone", lambda desk: desk.conf.unlink(), False),
    ("another trust file", lambda desk: Path(desk.settings.trust).write_text("{}"), False),
    ("a message", lambda desk: desk.link.waiting.append(b"{}"), False),
    ("the time of day was set a little", lambda desk: setattr(desk.agent._keeper, "_wall", 0.02 + desk.now), False),
]


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
    desk.agent._turn()
    assert desk.agent._nothing_new(math.inf)
    desk.now += 1.1
    act(desk)
    assert desk.agent._nothing_new(math.inf) == quiet


def test_the_end_of_a_window_is_due_and_no_tick_outlasts_it(desk: Desk) -> None:
    desk.put(2, {"rate_limit_rps": 300}, seconds=3.0)
    desk.settle(1.5)
    due = desk.agent._due()
    assert desk.agent._next_wake(due) <= 1.0
    desk.now += 1.6
    assert not desk.agent._nothing_new(due)
    assert desk.agent._nothing_new(math.inf), "for no other reason"


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
