"""Why a value is what it is, by rules alone: made-up patches over made-up bases, and brute force beside them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st

from hms_mgt.domain import effective, plan
from hms_mgt.domain.effective import ABSENT, Key, same, value_at
from hms_mgt.domain.freeze import Freeze
from hms_mgt.domain.patch import IN_STREAM, PLANNED, Patch, PatchSpec, Status
from hms_mgt.domain.plan import Known, Place
from hms_mgt.domain.window import Window
from hms_svc import layers, merge

BEGINNING = datetime(2026, 11, 23, tzinfo=UTC)
LAST = 12
PLACE = Place("2.1.0")

# --- made-up histories --------------------------------------------------------------------------------------

names = st.sampled_from(["a", "b", "c"])
scalars = st.sampled_from([0, 1, 1.0, True, "x", "y"]) | st.lists(st.sampled_from([1, 2]), max_size=2)


def documents(leaves: st.SearchStrategy[Any], keys: st.SearchStrategy[str] = names) -> st.SearchStrategy[Any]:
    inner = st.recursive(leaves, lambda below: st.dictionaries(keys, below, max_size=3), max_leaves=6)
    return st.dictionaries(keys, inner, max_size=3)


bases = documents(scalars | st.none(), names | st.just("a.b"))
changes = documents(scalars | st.none())


def instant(number: float) -> datetime:
    return BEGINNING + timedelta(seconds=number)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, LAST - 1))
    end = draw(st.none() | st.integers(start + 1, LAST))
    return Window(instant(start), None if end is None else instant(end))


@st.composite
def knowns(draw: st.DrawFn) -> list[Known]:
    found: list[Known] = []
    for number in range(1, draw(st.integers(0, 6)) + 1):
        spec = PatchSpec(
            service="S",
            version_selector=draw(st.sampled_from(["*", "*", ">=2.1.0", "<2"])),
            changes=draw(changes),
            tenant="T",
            window=draw(windows()),
            priority=draw(st.integers(0, 2)),
            supersedes=tuple(draw(st.sets(st.integers(1, number), max_size=1)) - {number}),
        )
        status = draw(st.sampled_from(sorted(IN_STREAM | PLANNED)))
        begins = spec.window.start
        if status in PLANNED:
            begins = max(begins, draw(st.integers(0, LAST).map(instant)))
        found.append(Known(a_patch(number, spec), status, begins))
    return found


def a_patch(number: int, spec: PatchSpec) -> Patch:
    return Patch(
        id=number,
        spec=spec,
        status=Status.APPLIED,
        status_reason="",
        author="ada",
        author_role="release_manager",
        created_at=BEGINNING,
        updated_at=BEGINNING,
        attempts=0,
        # Not the order of the ids.
        approval_order=100 - number,
        decision=None,
        decision_summary=None,
        rollout_started_at=None,
        ending=None,
    )


def that(  # noqa: PLR0913 - a patch has so many sides
    number: int,
    changes: Any,
    start: int,
    end: int | None,
    status: Status,
    *,
    frozen: Sequence[Freeze] = (),
    **more: Any,
) -> Known:
    window = Window(instant(start), None if end is None else instant(end))
    patch = a_patch(number, PatchSpec("S", "*", changes, "T", window, **more))
    return plan.as_known(patch, status, frozen, BEGINNING)


def freeze(start: int, end: int, *except_roles: str) -> Freeze:
    return Freeze(1, "T", instant(start), instant(end), "", except_roles, "ada", BEGINNING)


def explained(base: Any, known: Sequence[Known], at: datetime) -> tuple[list[Key], Any]:
    stack = plan.in_stream(known, PLACE, at)
    return effective.explain(base, stack, plan.ahead(known, PLACE, stack, at)), layers.fold(base, stack)


def by_path(base: Any, known: Sequence[Known], at: int) -> dict[str, Key]:
    keys, _ = explained(base, known, instant(at))
    return {merge.dotted(key.path): key for key in keys}


# --- for every history --------------------------------------------------------------------------------------


@given(bases, knowns(), st.integers(0, LAST))
def test_the_keys_are_the_configuration_and_each_winner_says_its_value(base: Any, known: list[Known], at: int) -> None:
    keys, configuration = explained(base, known, instant(at))
    there = [key for key in keys if key.value is not ABSENT]
    assert [key.path for key in there] == list(merge.leaves(configuration))
    assert len({key.path for key in keys}) == len(keys)
    for key in keys:
        assert same(key.value, value_at(configuration, key.path))
        if key.layers:
            assert same(key.layers[-1].value, key.value)
        else:
            assert key.value is ABSENT
            assert key.next_change is not None


def provenance(base: Any, layers: list[dict[str, Any]]) -> dict[str, int | None]:
    """For each key of the folded document the index of the layer that won it, None for the base; worked out plainly."""
    nested = [merge.expand(layer) for layer in layers]
    folded = reduce(merge.merge, nested, base)
    return {merge.dotted(path): _winner(path, nested) for path in merge.leaves(folded)}


def _winner(path: tuple[str, ...], layers: list[dict[str, Any]]) -> int | None:
    return next((number for number in reversed(range(len(layers))) if _touches(layers[number], path)), None)


def _touches(change: Any, path: tuple[str, ...]) -> bool:
    """Whether a patch decides the value at a path, by setting it or by replacing something above it."""
    for name in path:
        if not isinstance(change, dict):
            return True
        if name not in change:
            return False
        change = change[name]
    return True


@given(bases, knowns(), st.integers(0, LAST))
def test_the_winners_are_those_that_provenance_names(base: Any, known: list[Known], at: int) -> None:
    stack = plan.in_stream(known, PLACE, instant(at))
    winners = provenance(base, [dict(one.changes) for one in stack])
    keys, _ = explained(base, known, instant(at))
    found = {merge.dotted(key.path): key.layers[-1].patch_id for key in keys if key.value is not ABSENT}
    assert found == {path: None if index is None else stack[index].id for path, index in winners.items()}


@given(bases, knowns(), st.integers(0, LAST))
def test_each_layer_shows_what_the_fold_up_to_it_says(base: Any, known: list[Known], at: int) -> None:
    stack = plan.in_stream(known, PLACE, instant(at))
    keys, _ = explained(base, known, instant(at))
    order = [None, *(one.id for one in stack)]
    for key in keys:
        places = [order.index(layer.patch_id) for layer in key.layers]
        assert places == sorted(set(places)), "in the order of the fold, each once"
        for place, layer in zip(places, key.layers, strict=True):
            assert same(layer.value, value_at(layers.fold(base, stack[:place]), key.path))
        # What no layer is shown for changed nothing.
        for place in set(range(1, len(order))) - set(places):
            before, after = (layers.fold(base, stack[:length]) for length in (place - 1, place))
            assert same(value_at(before, key.path), value_at(after, key.path))


@given(bases, knowns(), st.integers(0, LAST))
def test_the_next_change_is_the_first_that_brute_force_finds(base: Any, known: list[Known], at: int) -> None:
    keys, _ = explained(base, known, instant(at))
    half_steps = [number / 2 for number in range(2 * at + 1, 2 * LAST + 4)]
    planned = {later: layers.fold(base, plan.planned(known, PLACE, instant(later))) for later in (at, *half_steps)}
    for key in keys:
        due = value_at(planned[at], key.path)
        first = next((n for n in half_steps if not same(value_at(planned[n], key.path), key.value)), None)
        if not same(due, key.value):
            assert key.next_change is not None
            assert key.next_change.at is None
            assert same(key.next_change.value, due)
        elif first is None:
            assert key.next_change is None
        else:
            event("a change is ahead")
            assert key.next_change is not None
            assert key.next_change.at == instant(first)
            assert same(key.next_change.value, value_at(planned[first], key.path))


@given(bases, knowns(), st.integers(0, LAST))
def test_the_reason_of_a_change_names_what_came_or_went_then_and_decides_the_key(
    base: Any, known: list[Known], at: int
) -> None:
    stack = plan.in_stream(known, PLACE, instant(at))
    steps = {step.at: step for step in plan.ahead(known, PLACE, stack, instant(at))}
    changes_of = {one.patch.id: one.patch.spec.changes for one in known}
    for key in explained(base, known, instant(at))[0]:
        if key.next_change is not None:
            said = key.next_change.because.split(", ")
            moved = steps[key.next_change.at].moved
            deciding = [moved[number] for number in moved if effective.decides(changes_of[number], key.path)]
            assert said
            assert set(said) <= set(deciding)


# --- by example ---------------------------------------------------------------------------------------------


def test_a_scalar_over_a_mapping_takes_the_keys_below_it_and_says_through_which_path() -> None:
    known = [that(1, {"a": 5}, 0, 10, Status.APPLIED)]
    keys = by_path({"a": {"b": 1}}, known, 1)
    assert keys["a"].value == 5
    assert [(one.patch_id, one.value) for one in keys["a"].layers] == [(None, {"b": 1}), (1, 5)]
    below = keys["a.b"]
    assert below.value is ABSENT
    assert [(one.patch_id, one.value, one.through) for one in below.layers] == [
        (None, 1, ("a", "b")),
        (1, ABSENT, ("a",)),
    ]
    assert below.next_change == effective.Change(instant(10), 1, "patch/1 ends")


def test_a_mapping_over_a_scalar_shows_its_keys_and_what_replaced_the_mapping_in_between() -> None:
    known = [
        that(1, {"a": 5}, 0, 10, Status.APPLIED, priority=1),
        that(2, {"a": {"c": 2}}, 0, 5, Status.APPLIED, priority=2),
    ]
    keys = by_path({"a": {"b": 1, "c": 1}}, known, 1)
    assert "a" not in keys, "it is no leaf while there is something in it"
    assert [(one.patch_id, one.value) for one in keys["a.c"].layers] == [(None, 1), (1, ABSENT), (2, 2)]
    assert keys["a.b"].value is ABSENT
    assert keys["a.c"].next_change == effective.Change(instant(5), ABSENT, "patch/2 ends")


def test_null_in_a_base_is_a_value_and_null_in_a_patch_takes_away() -> None:
    known = [that(1, {"b": None, "z": None}, 0, None, Status.APPLIED)]
    keys = by_path({"a": None, "b": 1}, known, 1)
    assert keys["a"].value is None
    assert keys["b"].value is ABSENT
    assert [one.patch_id for one in keys["b"].layers] == [None, 1]
    assert [one.patch_id for one in keys["z"].layers] == [1], "said, though there was nothing to take"


def test_a_key_with_a_dot_of_its_own_is_not_a_path() -> None:
    known = [that(1, {"a": {"b": 2}}, 0, None, Status.APPLIED)]
    keys = by_path({"a.b": 1}, known, 1)
    assert {path: key.value for path, key in keys.items()} == {'"a.b"': 1, "a.b": 2}


def test_a_key_that_is_only_planned_is_shown_as_one_to_come() -> None:
    known = [that(1, {"new": 1}, 5, 6, Status.SCHEDULED)]
    assert by_path({}, known, 1)["new"] == Key(("new",), ABSENT, (), effective.Change(instant(5), 1, "patch/1 starts"))


def test_what_ends_below_the_winner_is_no_reason() -> None:
    known = [
        that(1, {"a": 1}, 0, 5, Status.APPLIED, priority=1),
        that(2, {"a": 2}, 0, None, Status.APPLIED, priority=2),
        that(3, {"a": 3}, 0, 5, Status.APPLIED, priority=3),
    ]
    assert by_path({}, known, 1)["a"].next_change == effective.Change(instant(5), 2, "patch/3 ends")


def test_what_is_planned_to_supersede_ends_what_it_supersedes_when_it_begins_and_for_good() -> None:
    known = [
        that(1, {"a": 1}, 0, None, Status.APPLIED),
        that(2, {"b": 2}, 5, 7, Status.SCHEDULED, supersedes=(1,)),
    ]
    assert by_path({}, known, 1)["a"].next_change == effective.Change(
        instant(5), ABSENT, "patch/1 is superseded by patch/2"
    )
    assert plan.planned(known, PLACE, instant(8)) == ()


def test_what_a_freeze_holds_begins_when_the_freeze_ends_and_never_where_its_window_is_over_by_then() -> None:
    held = that(1, {"a": 1}, 2, 9, Status.SCHEDULED, frozen=[freeze(1, 3), freeze(3, 5)])
    assert by_path({}, [held], 0)["a"].next_change == effective.Change(instant(5), 1, "patch/1 starts")
    too_late = that(1, {"a": 1}, 2, 9, Status.SCHEDULED, frozen=[freeze(1, 9)])
    assert by_path({}, [too_late], 0) == {}
    excepted = that(1, {"a": 1}, 2, 9, Status.SCHEDULED, frozen=[freeze(1, 9, "release_manager")])
    assert by_path({}, [excepted], 0)["a"].next_change == effective.Change(instant(2), 1, "patch/1 starts")


def test_what_halted_is_about_to_go_back_and_what_it_supersedes_stays() -> None:
    known = [
        that(1, {"a": 1}, 0, None, Status.APPLIED),
        that(2, {"a": 2}, 0, None, Status.HALTED, priority=1, supersedes=(1,)),
    ]
    assert by_path({}, known, 1)["a"].next_change == effective.Change(None, 1, "patch/2 is halted and goes back")
