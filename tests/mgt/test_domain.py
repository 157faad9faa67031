"""The rules alone: windows, the table of transitions, knobs, reports. Properties first."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_mgt.domain import access, knobs
from hms_mgt.domain.access import ALLOWED, Permission, Role
from hms_mgt.domain.patch import IN_STREAM, TERMINAL, TRANSITIONS, Status, stream_changes
from hms_mgt.domain.report import UnreadableReport, parse
from hms_mgt.domain.window import Window, WindowError, parse_duration, parse_window, rfc3339
from hms_mgt.errors import Forbidden, pointer, sayable

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(instants, instants, instants)
def test_a_window_is_half_open(start: datetime, end: datetime, now: datetime) -> None:
    window = Window(start, end)
    inside = window.started(now) and not window.over(now)
    assert inside == (start <= now < end)


@given(instants, st.integers(0, 10**6), st.integers(1, 3600 * 24 * 3650))
def test_a_written_window_reads_back(now: datetime, ahead: int, seconds: int) -> None:
    start = now + timedelta(seconds=ahead)
    read = parse_window({"start": rfc3339(start), "duration": f"{seconds}s"}, now)
    assert read == Window(start, start + timedelta(seconds=seconds))
    assert parse_window({"start": rfc3339(start), "end": rfc3339(start + timedelta(seconds=seconds))}, now) == read


@given(json_values)
def test_any_window_document_is_read_or_refused_with_a_pointer(document: Any) -> None:
    try:
        window = parse_window(document, NOW)
    except WindowError as error:
        pointer = error.problem.pointer
    else:
        pointer = "/window"
        assert window.end is None or window.end > window.start
    assert pointer.startswith("/window")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("14d", 1209600), ("1h30m", 5400), ("90s", 90), ("2w", 1209600), ("1d2h3m4s", 93784)],
)
def test_durations(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "d", "1", "-1d", "1.5h", "1d 2h", "2h1d", "9" * 30 + "w", "99999999w", "0d", 5, None]
)
def test_what_is_no_duration(text: Any) -> None:
    with pytest.raises(WindowError):
        parse_duration(text)


def test_offsets_are_understood_and_the_seeds_short_form() -> None:
    window = parse_window({"start": "2026-12-01T00:00Z", "end": "2026-12-01T03:00+02:00"}, NOW)
    assert window.end == datetime(2026, 12, 1, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-01\x0000:00Z",
        "2026-12-01\ud80000:00Z",
        "2026-12-01 00:00Z",
        "2026-12-01t00:00z",
        "20261201T0000Z",
        "2026-W49-2T00:00Z",
        "2026-12-01T00Z",
        "2026-12-01T00:00Z\n",
        "2026-12-01T00:00:00,5Z",
        "2026-12-01T00:00+0100",
        "2026-12-01T00:00+01:00:30",
        "\u0662026-12-01T00:00Z",
        "2026-12-01T25:00Z",
    ],
)
def test_an_instant_is_rfc_3339_to_the_letter(text: str) -> None:
    with pytest.raises(WindowError) as refused:
        parse_window({"start": text}, NOW)
    assert refused.value.problem.pointer == "/window/start"
    refused.value.problem.detail.encode()


def test_fractions_of_a_second_and_digits_of_other_scripts() -> None:
    read = parse_window({"start": "2026-12-01T00:00:00.123456Z"}, NOW)
    assert read.start == datetime(2026, 12, 1, 0, 0, 0, 123456, tzinfo=UTC)
    with pytest.raises(WindowError):
        parse_duration("\u0661\u0664d")


@given(st.lists(st.text(st.characters(codec=None)) | st.integers()))
def test_a_pointer_can_always_be_written_and_read_back(steps: list[str | int]) -> None:
    written = pointer(*steps)
    written.encode()
    read = [step.replace("~1", "/").replace("~0", "~") for step in written.split("/")[1:]]
    assert read == [sayable(str(step)[:128]) for step in steps]


def test_what_a_pointer_cannot_hold_is_shown_by_its_number() -> None:
    assert pointer("changes", "a/b~\ud800", 3) == r"/changes/a~1b~0\ud800/3"


def test_the_end_of_the_calendar_is_refused_not_crashed_into() -> None:
    for document in (
        {"start": "9999-12-31T00:00Z", "duration": "10d"},
        {"start": "0001-01-01T00:00+14:00"},
        {"start": "1969-12-31T23:59Z"},
        {"start": "now", "end": "9998-01-01T00:00Z"},
    ):
        with pytest.raises(WindowError):
            parse_window(document, NOW)


@given(st.sampled_from(list(Status)), st.lists(st.integers(0, 10), max_size=12))
def test_every_walk_through_the_table_ends_and_touches_the_stream_in_pairs(start: Status, choices: list[int]) -> None:
    status, crossings = Status.QUEUED, []
    for choice in choices:
        following = sorted(TRANSITIONS[status])
        if not following:
            assert status in TERMINAL
            break
        step = following[choice % len(following)]
        if stream_changes(status, step):
            crossings.append(step in IN_STREAM)
        status = step
    assert crossings in ([], [True], [True, False])
    assert (not TRANSITIONS[start]) == (start in TERMINAL)


def test_only_release_managers_may_submit() -> None:
    assert [role for role in Role if Permission.SUBMIT in ALLOWED[role]] == [Role.RELEASE_MANAGER]
    with pytest.raises(Forbidden):
        access.require_tenant(access.Actor("x", Role.RELEASE_MANAGER, "VA"), "IACB")
    access.require_tenant(access.Actor("x", Role.RELEASE_MANAGER, None), "IACB")


@given(st.dictionaries(st.text(), json_values, min_size=1, max_size=5))
def test_any_changes_are_checked_without_a_crash_and_problems_point_into_them(changes: dict[str, Any]) -> None:
    for problem in knobs.problems(changes):
        assert problem.pointer.startswith("/changes")
        assert problem.detail


@given(st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_report_or_refused(raw: bytes) -> None:
    with pytest.raises(UnreadableReport):
        parse(raw)


GOOD: dict[str, Any] = {
    "instance": "a",
    "service": "API",
    "version": "2.1.0",
    "url": None,
    "revision": 3,
    "active": [1],
    "digest": "0",
    "failed": [],
    "refused": {"unsigned": 2},
    "stale": False,
    "at": "2026-11-23T12:00:00Z",
    "receipts": [{"patch_id": 1, "stage": "effective", "at": "2026-11-23T12:00:00Z", "detail": ""}],
}


@given(st.sampled_from(sorted(GOOD)), json_values)
def test_one_wrong_field_makes_a_report_unreadable_or_harmless(field: str, value: Any) -> None:
    assert parse(json.dumps(GOOD).encode()).refused == {"unsigned": 2}
    try:
        report = parse(json.dumps({**GOOD, field: value}).encode())
    except UnreadableReport:
        return
    assert 0 < len(report.instance) <= 253
    assert report.revision >= 0
    assert all(patch_id >= 0 for patch_id in report.active)
