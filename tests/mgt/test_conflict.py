"""Which patches are in each other's way, and where the next free window is; the rules alone, against brute force."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_mgt.domain.conflict import Overlap, next_free, overlaps
from hms_mgt.domain.patch import Patch, PatchSpec
from hms_mgt.domain.window import Window
from hms_svc.selector import parse_selector
from tests.mgt.planned import asked, at, standing, window

VERSIONS = ("2.0.0", "2.1.0", "2.1.0-cdc-boosters", "3.0.0")
LATEST = 30

windows = st.builds(
    lambda start, length: window(start, None if length is None else start + length),
    st.integers(0, 12),
    st.none() | st.integers(1, 8),
)
changes = st.sampled_from(
    [{"a": 1}, {"b": 1}, {"a": None}, {"c": {"x": 1}}, {"c": {"y": 1}}, {"c": 1}, {"a": 1, "c": {"x": [1]}}, {"c": {}}]
)
specs = st.builds(
    asked,
    changes,
    windows,
    st.sampled_from(["*", ">=2.1.0", "<2.1", "2.1.x", "^2"]),
    priority=st.sampled_from([0, 0, 5]),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Patch]:
    return [standing(number, spec) for number, spec in enumerate(draw(st.lists(specs, max_size=6)), 1)]


def one(mine: PatchSpec, theirs: PatchSpec) -> Overlap | None:
    return next(iter(overlaps(mine, [standing(1, theirs)], VERSIONS)), None)


def holds(when: Window, minute: int) -> bool:
    return when.started(at(minute)) and not when.over(at(minute))


@given(specs, specs)
def test_what_is_in_the_way_of_another_has_it_in_its_own_way(mine: PatchSpec, theirs: PatchSpec) -> None:
    found, back = one(mine, theirs), one(theirs, mine)
    assert found == back


@given(specs, specs)
def test_an_overlap_is_exactly_where_both_hold(mine: PatchSpec, theirs: PatchSpec) -> None:
    found = one(mine, theirs)
    both = [minute for minute in range(LATEST) if holds(mine.window, minute) and holds(theirs.window, minute)]
    if found is None:
        selected = [
            version
            for version in VERSIONS
            if all(parse_selector(spec.version_selector).matches(version) for spec in (mine, theirs))
        ]
        free = one(mine._replace(window=window(0, None)), theirs._replace(window=window(0, None))) is None
        assert not both or not selected or mine.priority != theirs.priority or free
    else:
        assert [minute for minute in range(LATEST) if holds(Window(found.start, found.end), minute)] == both
        assert both


@given(specs, histories())
def test_the_next_free_window_is_free_and_no_earlier_one_is(spec: PatchSpec, others: list[Patch]) -> None:
    def free_from(minute: int) -> Window | None:
        length = None if spec.window.end is None else spec.window.end - spec.window.start
        moved = Window(at(minute), None if length is None else at(minute) + length)
        return None if overlaps(spec._replace(window=moved), others, VERSIONS) else moved

    first = int((spec.window.start - at(0)).total_seconds()) // 60
    by_hand = next(filter(None, map(free_from, range(first, 3 * LATEST))), None)
    assert next_free(spec, others, VERSIONS) == by_hand


@pytest.mark.parametrize(
    ("mine", "theirs", "shared"),
    [
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ("a.b",)),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, ()),
        ({"a": 1}, {"a": {"b": 2}}, ("a.b",)),
        ({"a": None}, {"a": {"b": 2, "c": 3}}, ("a.b", "a.c")),
        ({"a": {}}, {"a": {"b": 2}}, ("a.b",)),
        ({"a": {"b": 1}}, {"ab": 1}, ()),
        ({"labels": {"app.io/x": 1}}, {"labels": {"app.io/x": 2}}, ('labels."app.io/x"',)),
        ({"labels": {"app.io": 1}}, {"labels": {"app": {"io": 1}}}, ()),
        ({"a.b": 1}, {"a": {"b": 2}}, ("a.b",)),
        ({"a": 1, "b": 1}, {"b": 2, "a": 2}, ("a", "b")),
    ],
)
def test_knobs_meet_where_one_is_the_other_or_above_it(
    mine: dict[str, Any], theirs: dict[str, Any], shared: tuple[str, ...]
) -> None:
    found = one(asked(mine, window(0, 5)), asked(theirs, window(0, 5)))
    assert (() if found is None else found.knobs) == shared


@pytest.mark.parametrize(
    ("mine", "theirs", "met"),
    [
        (">=2.1.0", "<2.1", ()),
        (">=2.1.0", "^2", ("2.1.0", "2.1.0-cdc-boosters")),
        ("2.1.0-cdc-boosters", "2.1.0", ("2.1.0-cdc-boosters",)),
        (">=4", ">=4", ()),
        ("*", "3.x", ("3.0.0",)),
    ],
)
def test_selectors_meet_on_versions_that_there_are(mine: str, theirs: str, met: tuple[str, ...]) -> None:
    found = one(asked({"a": 1}, window(0, 5), mine), asked({"a": 2}, window(0, 5), theirs))
    assert (() if found is None else found.versions) == met


def test_windows_that_touch_do_not_overlap_and_without_an_end_is_for_good() -> None:
    early, late, endless = (asked({"a": 1}, when) for when in (window(0, 5), window(5, 9), window(3, None)))
    assert one(early, late) is None
    assert one(early, endless) == Overlap(1, ("a",), VERSIONS, at(3), at(5))
    assert one(endless, endless) == Overlap(1, ("a",), VERSIONS, at(3), None)


def test_neither_another_priority_nor_what_is_superseded_is_in_the_way() -> None:
    mine = asked({"a": 1}, window(0, 5))
    others = [standing(number, mine) for number in (7, 8)]
    assert [found.patch_id for found in overlaps(mine, others, VERSIONS)] == [7, 8]
    assert [found.patch_id for found in overlaps(mine._replace(supersedes=(7,)), others, VERSIONS)] == [8]
    assert overlaps(mine._replace(priority=1), others, VERSIONS) == []
    assert next_free(mine._replace(supersedes=(7, 8)), others, VERSIONS) == mine.window


def test_there_is_no_next_window_behind_what_never_ends_nor_behind_the_calendar() -> None:
    mine = asked({"a": 1}, Window(at(0), at(5)))
    assert next_free(mine, [standing(1, asked({"a": 2}, window(3, None)))], VERSIONS) is None
    # Seven thousand years fit once more behind five minutes, and never behind themselves.
    aeons = mine._replace(window=Window(at(0), at(0).replace(year=8999)))
    assert next_free(aeons, [standing(1, mine)], VERSIONS) == Window(at(5), at(5).replace(year=8999))
    assert next_free(aeons, [standing(1, aeons)], VERSIONS) is None
