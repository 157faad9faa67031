"""Exit code decisions, without a server or a clock."""

from typing import Any

import pytest

from hms_cli.outcome import Code, Difference, Goal, http_code, settled

from .fake_mgt import patch

APPLIED_ONCE = [{"to": "APPLIED"}]


def code(status: str, goal: Goal, **other: Any) -> Code | None:
    outcome = settled(patch(status, **other), goal)
    return None if outcome is None else outcome.code


@pytest.mark.parametrize("goal", [Goal.UNDERWAY, Goal.IN_EFFECT])
@pytest.mark.parametrize(
    ("status", "events", "wanted"),
    [
        ("QUEUED", [], None),
        ("AWAITING_APPROVAL", [], None),
        ("APPROVED", [], None),
        ("ROLLING_OUT", [], None),
        ("REVERTING", APPLIED_ONCE, None),
        ("A_STATUS_OF_NEXT_YEAR", [], None),
        ("APPLIED", [], Code.OK),
        ("REJECTED", [], Code.REJECTED),
        ("HALTED", APPLIED_ONCE, Code.ROLLED_BACK),
        ("ROLLED_BACK", APPLIED_ONCE, Code.ROLLED_BACK),
        ("EXPIRED", APPLIED_ONCE, Code.OK),
        ("EXPIRED", [], Code.FAILED),
        ("SUPERSEDED", APPLIED_ONCE, Code.OK),
        ("SUPERSEDED", [], Code.FAILED),
        ("CANCELLED", [], Code.FAILED),
    ],
)
def test_a_wait_for_effect(status: str, events: list[dict[str, str]], wanted: Code | None, goal: Goal) -> None:
    assert code(status, goal, events=events) is wanted


@pytest.mark.parametrize(
    ("status", "wanted"),
    [
        ("APPLIED", None),
        ("HALTED", None),
        ("REVERTING", None),
        ("ROLLED_BACK", Code.OK),
        ("EXPIRED", Code.OK),
        ("SUPERSEDED", Code.OK),
        ("CANCELLED", Code.OK),
        ("REJECTED", Code.REJECTED),
    ],
)
def test_a_wait_for_the_end(status: str, wanted: Code | None) -> None:
    assert code(status, Goal.GONE) is wanted


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        ("2024-11-20T09:00:02Z", Code.OK),
        ("2024-11-20T10:00:00+00:30", Code.OK),
        ("2024-11-20T09:00:01Z", None),
        ("2024-11-20T09:00:01+05:00", None),
        ("soon", None),
        ("2024-11-20T09:00:02", None),
        (None, None),
    ],
)
def test_a_scheduled_patch_is_underway_when_its_start_lies_ahead_of_the_servers_clock(
    start: str | None, wanted: Code | None
) -> None:
    window = {"start": start, "end": None}
    assert code("SCHEDULED", Goal.UNDERWAY, window=window) is wanted
    assert code("SCHEDULED", Goal.IN_EFFECT, window=window) is None


def test_the_words_say_when_a_scheduled_patch_starts() -> None:
    outcome = settled(patch("SCHEDULED", window={"start": "2030-01-01T00:00:00Z"}), Goal.UNDERWAY)
    assert outcome is not None
    assert "2030-01-01T00:00:00Z" in outcome.words


@pytest.mark.parametrize(("held", "wanted"), [("2024-11-20T09:00:02Z", Code.OK), ("2024-11-20T09:00:01Z", None)])
def test_a_patch_that_a_freeze_holds_is_underway_until_the_freeze_ends(held: str, wanted: Code | None) -> None:
    assert code("SCHEDULED", Goal.UNDERWAY, window={"start": "2024-11-20T09:00:00Z"}, held_until=held) is wanted
    assert code("SCHEDULED", Goal.IN_EFFECT, held_until=held) is None


@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize(
    ("status", "said"),
    [("SUPERSEDED", "patch/790 took its place"), ("CANCELLED", "it was cancelled: patch/790 takes its place")],
)
def test_the_words_say_which_patch_took_its_place(status: str, said: str, goal: Goal) -> None:
    outcome = settled(patch(status, superseded_by=790), goal)
    assert outcome is not None
    assert outcome.words == said


@pytest.mark.parametrize(
    ("status", "wanted"),
    [(400, 3), (404, 3), (409, 3), (413, 3), (422, 3), (429, 3), (401, 6), (403, 6), (500, 1), (503, 1)],
)
def test_http_errors_have_exit_codes(status: int, wanted: int) -> None:
    assert http_code(status) == wanted


def test_the_numbers_are_an_interface() -> None:
    assert {code.name: int(code) for code in Code} == {
        "OK": 0,
        "FAILED": 1,
        "USAGE": 2,
        "REJECTED": 3,
        "TIMEOUT": 4,
        "ROLLED_BACK": 5,
        "NOT_ALLOWED": 6,
        "INTERRUPTED": 130,
    }
    assert {code.name: int(code) for code in Difference} == {"NONE": 0, "SOME": 1, "TROUBLE": 2, "REFUSED": 3}
