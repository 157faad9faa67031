"""Merging: RFC 7386 to the letter, patches that compose, dotted knobs, and who won each key."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given

from hms_svc.merge import MAX_DEPTH, compose, digest, dotted, expand, merge, same
from tests.svc.makers import documents, small


@pytest.mark.parametrize(
    ("target", "change", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_examples_of_rfc_7386(target: Any, change: Any, result: Any) -> None:
    assert merge(target, change) == result


@given(small, small, small)
def test_a_composed_patch_does_what_its_parts_do(
    target: dict[str, Any], first: dict[str, Any], then: dict[str, Any]
) -> None:
    assert merge(merge(target, first), then) == merge(target, compose(first, then))


@given(small, small, small, small)
def test_composition_may_be_grouped_either_way(
    target: dict[str, Any], first: dict[str, Any], second: dict[str, Any], third: dict[str, Any]
) -> None:
    left = compose(compose(first, second), third)
    right = compose(first, compose(second, third))
    assert left == right
    assert merge(target, left) == merge(target, right)


@given(small)
def test_the_empty_patch_changes_nothing(change: dict[str, Any]) -> None:
    assert compose({}, change) == compose(change, {}) == change
    assert merge(change, {}) == change


def test_a_deleted_mapping_does_not_come_back_with_its_old_keys() -> None:
    composed = compose({"tls": None}, {"tls": {"cert": "new"}})
    assert merge({"tls": {"cert": "old", "key": "old"}}, composed) == {"tls": {"cert": "new"}}


@given(small, small, small)
def test_nothing_is_mutated(target: dict[str, Any], first: dict[str, Any], then: dict[str, Any]) -> None:
    before = deepcopy((target, first, then))
    merge(target, compose(first, then))
    assert (target, first, then) == before


@given(small, small)
def test_merging_twice_is_merging_once(target: dict[str, Any], change: dict[str, Any]) -> None:
    merged = merge(target, change)
    assert merge(merged, change) == merged


@pytest.mark.parametrize(
    ("changes", "nested"),
    [
        ({}, {}),
        ({"a": 1}, {"a": 1}),
        ({"a.b": 1}, {"a": {"b": 1}}),
        ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
        ({"a.b": 1, "a": {"c": 2}}, {"a": {"b": 1, "c": 2}}),
        ({"a": {"c": 2}, "a.b.d": None}, {"a": {"c": 2, "b": {"d": None}}}),
        ({"a.b": {"c": 1}, "a": {"b": {"d": 2}}}, {"a": {"b": {"c": 1, "d": 2}}}),
        ({"a": {"b.c": 1}}, {"a": {"b.c": 1}}),
        ({"a": {}, "a.b": 1}, {"a": {"b": 1}}),
    ],
)
def test_dotted_knobs_expand(changes: dict[str, Any], nested: dict[str, Any]) -> None:
    assert expand(changes) == nested
    assert expand(nested) == nested


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"a.b": 1, "a": {"b": 2}}, "a.b"),
        ({"a.b": 1, "a": {"b": 1}}, "a.b"),
        ({"a": 1, "a.b": 2}, "a"),
        ({"a.b": 2, "a": 1}, "a"),
        ({"a": None, "a.b": 2}, "a"),
        ({"a.b": [1], "a": {"b": {"c": 2}}}, "a.b"),
    ],
)
def test_two_knobs_for_one_key_collide(changes: dict[str, Any], where: str) -> None:
    with pytest.raises(ValueError, match=f"two knobs say '{where}'"):
        expand(changes)


def test_many_knobs_are_no_more_work_than_their_number() -> None:
    changes = {f"k{number}.x": number for number in range(30_000)}
    assert len(expand(changes | {"k.a": 1})) == 30_001


def test_expanding_leaves_the_knobs_alone() -> None:
    changes = {"a": {"b": {"c": 1}}, "a.b.d": 2}
    assert expand(changes) == {"a": {"b": {"c": 1, "d": 2}}}
    assert changes == {"a": {"b": {"c": 1}}, "a.b.d": 2}


@pytest.mark.parametrize("knob", ["", ".", "a.", ".a", "a..b", ".".join("k" * (MAX_DEPTH + 1))])
def test_a_knob_is_a_path_of_names(knob: str) -> None:
    with pytest.raises(ValueError, match="is not a key path"):
        expand({knob: 1})


def test_a_name_with_a_dot_is_quoted_in_a_path() -> None:
    assert dotted(("labels", "app.kubernetes.io/name")) == 'labels."app.kubernetes.io/name"'


@pytest.mark.parametrize(
    ("left", "right"),
    [(1, 1.0), (1, True), (0, False), ({"a": 1}, {"a": True}), ([1], [1.0]), ([1], [1, 1]), (None, 0), ({}, [])],
)
def test_values_of_two_types_are_not_the_same(left: Any, right: Any) -> None:
    assert not same(left, right)


@given(documents)
def test_a_copy_is_the_same(document: dict[str, Any]) -> None:
    assert same(document, deepcopy(document))


def test_the_digest_is_pinned() -> None:
    document = {"b": [1, 2.5, None, True], "a": {"ü": "x"}}
    assert digest(document) == "f600362a6a61f7e8f70fc3d7253f15a4c2cebed9c9c1a3051cd120806bdeea7d"


@given(small, small)
def test_documents_have_one_digest_exactly_when_they_are_the_same(left: dict[str, Any], right: dict[str, Any]) -> None:
    assert (digest(left) == digest(right)) == same(left, right)


def test_the_digest_does_not_see_key_order_or_a_float_without_fraction() -> None:
    assert digest({"a": 1, "b": 100}) == digest({"b": 1e2, "a": 1.0})
    assert digest({"a": 1}) != digest({"a": True})
    assert digest({"a": 0.5}) != digest({"a": 0})
