"""When an attempt may start: pure, so every story is a few lines."""

from hms_svc.pace import (
    ENDING_SPACING_SECONDS,
    LONGEST_WAIT_SECONDS,
    MOST_RENEWALS,
    RESUME_SECONDS,
    SPACING_SECONDS,
    Pace,
)


def test_the_first_attempt_waits_for_nothing() -> None:
    assert Pace().earliest() <= 0


def test_additions_are_apart() -> None:
    pace = Pace()
    pace.started = 100.0
    assert pace.earliest() == 100.0 + SPACING_SECONDS


def test_an_ending_minds_only_when_the_process_was_last_told() -> None:
    pace = Pace()
    pace.started = 100.0
    pace.told(99.0)
    pace.mind(late=True, now=100.05)
    assert pace.earliest() < 100.05
    pace.told(100.05)
    assert pace.earliest() == 100.05 + ENDING_SPACING_SECONDS
    assert not pace.may_tell(100.1)
    assert pace.may_tell(100.2)


def test_an_ending_is_late_since_it_was_first_seen_and_until_it_is_out() -> None:
    pace = Pace()
    pace.mind(late=True, now=1.0)
    pace.mind(late=True, now=2.0)
    assert pace.late_since == 1.0
    pace.mind(late=False, now=3.0)
    assert pace.late_since is None


def test_a_writer_is_waited_for_in_steps_and_not_for_long() -> None:
    pace = Pace()
    assert pace.may_wait(10.0)
    assert 10.0 < pace.earliest() < 10.1
    assert pace.may_wait(9.99 + LONGEST_WAIT_SECONDS)
    assert not pace.may_wait(10.01 + LONGEST_WAIT_SECONDS)
    pace.came_to_an_end()
    assert pace.may_wait(20.0)


def test_an_attempt_that_was_called_off_keeps_nobody_waiting_but_for_the_writer() -> None:
    pace = Pace()
    pace.started = 100.0
    assert pace.may_wait(100.0)
    pace.called_off()
    assert pace.earliest() == 100.0 + RESUME_SECONDS


def test_who_writes_after_an_edit_was_taken_in_is_waited_for_anew_but_not_for_ever() -> None:
    pace = Pace()
    times = [10.0 + step * 2 * LONGEST_WAIT_SECONDS for step in range(MOST_RENEWALS + 2)]
    waited = []
    for now in times:
        waited.append(pace.may_wait(now))
        pace.taken_in()
    assert waited == [True] * (MOST_RENEWALS + 1) + [False]
    pace.came_to_an_end()
    assert pace.may_wait(100.0)
    pace.taken_in()
    assert pace.may_wait(101.0)


def test_an_ending_waits_for_one_writer_only() -> None:
    pace = Pace()
    pace.mind(late=True, now=10.0)
    assert pace.may_wait(10.0)
    pace.taken_in()
    assert not pace.may_wait(10.01 + LONGEST_WAIT_SECONDS)
