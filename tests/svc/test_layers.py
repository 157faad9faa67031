"""Which patches are in force, and what they add up to whatever came and went before."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_svc.layers import effective_digest, fold, next_change, overlay, rank
from hms_svc.merge import digest, merge
from hms_svc.messages import Patch, StreamMessage, advance
from hms_svc.selector import VersionError
from hms_svc.wire import ADMIT_ALL
from tests.svc.makers import SERVICE, TENANT, in_force, patch, small

INSTANCE = "pod-1"
moments = st.integers(0, 20).map(float)
endings = st.none() | moments


@st.composite
def patches(draw: st.DrawFn) -> list[Patch]:
    ids = draw(st.lists(st.integers(1, 50), max_size=6, unique=True))
    return [
        patch(
            number,
            changes=draw(small),
            selector=draw(st.sampled_from(["*", ">=2", "<2"])),
            start=draw(moments),
            end=draw(endings),
            expires=draw(endings),
            priority=draw(st.integers(0, 2)),
            order=draw(st.integers(0, 3)),
            admit_below=draw(st.sampled_from([0, 2**31, ADMIT_ALL])),
        )
        for number in ids
    ]


def active(held: list[Patch], at: float, version: str = "2.1.0") -> list[int]:
    return [one.id for one in in_force(held, version, INSTANCE, at)]


@pytest.mark.parametrize(("at", "count"), [(9.999, 0), (10.0, 1), (15.0, 1), (19.999, 1), (20.0, 0), (21.0, 0)])
def test_a_window_holds_its_start_and_not_its_end(at: float, count: int) -> None:
    assert len(active([patch(start=10.0, end=20.0)], at)) == count
    assert len(active([patch(start=10.0, expires=20.0)], at)) == count


@pytest.mark.parametrize(("end", "expires"), [(20.0, 30.0), (30.0, 20.0), (20.0, None), (None, 20.0)])
def test_the_first_of_end_and_expiry_ends_a_patch(end: float | None, expires: float | None) -> None:
    one = patch(end=end, expires=expires)
    assert active([one], 19.0) == [784]
    assert active([one], 20.0) == []


def test_two_windows_that_meet_never_overlap_and_leave_no_gap() -> None:
    first, second = patch(1, start=0.0, end=10.0), patch(2, start=10.0, end=20.0)
    assert [active([first, second], at) for at in (9.999999, 10.0)] == [[1], [2]]


def test_a_patch_without_an_end_stands() -> None:
    assert active([patch()], 4e9) == [784]


def test_only_versions_selected_get_a_patch() -> None:
    one = patch(selector=">=2.1.0")
    assert active([one], 1.0, "2.1.0-cdc-boosters") == [784]
    assert active([one], 1.0, "2.0.9") == []
    with pytest.raises(VersionError):
        active([one], 1.0, "latest")


def test_only_instances_admitted_get_a_patch() -> None:
    place = rank(784, INSTANCE)
    assert active([patch(admit_below=place)], 1.0) == []
    assert active([patch(admit_below=place + 1)], 1.0) == [784]
    assert active([patch(admit_below=0)], 1.0) == []
    assert active([patch(admit_below=ADMIT_ALL)], 1.0) == [784]


def test_layers_lie_by_priority_then_approval_then_id() -> None:
    held = [patch(3, priority=1, order=0), patch(2, order=5), patch(1, order=5), patch(9, order=1)]
    assert active(held, 1.0) == [9, 1, 2, 3]
    assert active(held[::-1], 1.0) == [9, 1, 2, 3]


def test_the_last_layer_wins() -> None:
    held = [patch(1, changes={"rps": 1, "a.b": 1}), patch(2, changes={"rps": 2, "a": {"c": None}})]
    assert overlay(held) == {"rps": 2, "a": {"b": 1, "c": None}}
    assert fold({"rps": 0, "a": {"c": 5}, "z": 0}, held) == {"rps": 2, "a": {"b": 1}, "z": 0}


@given(small, patches(), moments)
def test_the_fold_is_the_layers_merged_one_by_one(base: dict[str, Any], held: list[Patch], at: float) -> None:
    layers = in_force(held, "2.1.0", INSTANCE, at)
    folded: Any = base
    for layer in layers:
        folded = merge(folded, layer.changes)
    assert fold(base, layers) == folded


@given(small, patches(), st.data())
def test_patches_may_end_in_any_order(base: dict[str, Any], held: list[Patch], data: st.DataObject) -> None:
    """Whatever arrived and ended, in whatever order: the rest is as if the ended ones had never been."""
    arrivals = data.draw(st.permutations(held))
    ended = data.draw(st.permutations([one.id for one in held]))[: len(held) // 2]
    state: dict[int, Patch] = {}
    for number, one in enumerate(arrivals, start=1):
        state = advance(state, step(number, one))
    for number, gone in enumerate(ended, start=len(arrivals) + 1):
        state = advance(state, step(number, ended=gone))
    survivors = [one for one in held if one.id not in ended]
    after = in_force(state.values(), "2.1.0", INSTANCE, 5.0)
    assert after == in_force(survivors, "2.1.0", INSTANCE, 5.0)
    assert fold(base, after) == fold(base, in_force(survivors, "2.1.0", INSTANCE, 5.0))


def step(revision: int, *put: Patch, ended: int | None = None) -> StreamMessage:
    gone = () if ended is None else (ended,)
    return StreamMessage("delta", TENANT, SERVICE, revision, revision - 1, 0.0, put, gone)


@given(patches(), moments)
def test_nothing_changes_before_the_next_change(held: list[Patch], at: float) -> None:
    upcoming = next_change(held, at)
    quiet = [at, at + 0.5] if upcoming is None else [at, (at + upcoming) / 2, upcoming - 0.001]
    assert all(active(held, left) == active(held, right) for left, right in pairwise(quiet))
    if upcoming is None:
        assert active(held, at) == active(held, 1e9)


@given(patches(), moments)
def test_the_next_change_lies_ahead(held: list[Patch], at: float) -> None:
    upcoming = next_change(held, at)
    assert upcoming is None or upcoming > at


def test_the_next_change_is_the_nearest_edge() -> None:
    held = [patch(1, start=10.0, end=30.0), patch(2, start=5.0, end=40.0, expires=20.0)]
    assert [next_change(held, at) for at in (0.0, 5.0, 10.0, 20.0, 30.0, 40.0)] == [5.0, 10.0, 20.0, 30.0, 40.0, None]


@pytest.mark.parametrize(
    ("number", "instance", "place"),
    [
        (784, "pod-1", 977_011_621),
        (785, "pod-1", 1_821_855_109),
        (784, "pod-2", 2_204_279_974),
        (784, "", 2_224_902_666),
    ],
)
def test_ranks_are_pinned(number: int, instance: str, place: int) -> None:
    assert rank(number, instance) == place


def test_ranks_are_uniform() -> None:
    buckets = [0] * 64
    for number in range(64_000):
        place = rank(784, f"pod-{number}")
        assert 0 <= place < ADMIT_ALL
        buckets[place >> 26] += 1
    chi_square = sum((count - 1000) ** 2 / 1000 for count in buckets)
    assert 30 < chi_square < 110  # 63 degrees of freedom: outside once in ten thousand hashes


def test_each_patch_draws_its_own_order() -> None:
    pods = [f"pod-{number}" for number in range(20)]
    assert sorted(pods, key=lambda pod: rank(1, pod)) != sorted(pods, key=lambda pod: rank(2, pod))


def test_a_threshold_admits_exactly_as_many_as_meant() -> None:
    pods = [f"pod-{number}" for number in range(3)]
    threshold = sorted(rank(784, pod) for pod in pods)[1]
    wave = patch(admit_below=threshold)
    assert sum(bool(in_force([wave], "2.1.0", pod, 1.0)) for pod in pods) == 1


def test_the_effective_digest_is_that_of_the_overlay() -> None:
    layers = [patch(1, changes={"a.b": 1}), patch(2, changes={"c": None})]
    assert effective_digest(layers) == digest({"a": {"b": 1}, "c": None})
    assert effective_digest([]) == digest({})
