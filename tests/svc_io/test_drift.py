"""A person's edit is split between the base and the patches."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_svc.candidate import mapping
from hms_svc.drift import adopt, differences, without
from hms_svc.merge import compose, merge, packed, unpacked

BASE = "a: 1  # one\nm:\n  x: 1\n  y: 2\n"
KEYS = st.sampled_from("abcd")
SCALARS = st.integers(0, 3) | st.booleans() | st.sampled_from(["s", "t"])
DOCUMENTS = st.recursive(
    st.dictionaries(KEYS, SCALARS, max_size=3), lambda inner: st.dictionaries(KEYS, SCALARS | inner, max_size=3)
)
CHANGES = st.recursive(
    st.dictionaries(KEYS, SCALARS | st.none(), max_size=3),
    lambda inner: st.dictionaries(KEYS, SCALARS | st.none() | inner, max_size=3),
)


def test_a_free_key_joins_the_base_with_its_comment() -> None:
    found = adopt(BASE, {"a": 5}, "a: 5  # one\nm:\n  x: 1\n  y: 2\nb: 3  # mine\n")
    assert found.base == "a: 1  # one\nm:\n  x: 1\n  y: 2\nb: 3  # mine\n"
    assert found.healed == ()


def test_a_patched_key_is_healed_and_its_base_value_kept() -> None:
    found = adopt(BASE, {"m": {"x": 9}}, "a: 1  # one\nm:\n  x: 0\n  y: 7\n")
    assert mapping(found.base) == {"a": 1, "m": {"x": 1, "y": 7}}
    assert found.healed == ("m.x",)


def test_a_key_a_patch_deleted_stays_deleted() -> None:
    found = adopt(BASE, {"a": None}, "a: 4\nm:\n  x: 1\n  y: 2\n")
    assert mapping(found.base) == mapping(BASE)
    assert found.healed == ("a",)


def test_a_key_beside_a_patched_new_mapping_joins_the_base() -> None:
    found = adopt("a: 1\n", {"n": {"p": 1}}, "a: 1\nn: {p: 1, q: 2}\n")
    assert mapping(found.base) == {"a": 1, "n": {"q": 2}}


def test_what_is_no_mapping_is_refused() -> None:
    for text in ("- a\n", "a: [\n", "just words"):
        with pytest.raises(ValueError, match=r"."):
            adopt(BASE, {}, text)


@given(DOCUMENTS, CHANGES)
def test_without_an_edit_nothing_moves(base: dict[str, object], changes: dict[str, object]) -> None:
    folded = merge(base, changes)
    split = without(folded, base, changes)
    assert merge(split, changes) == folded


@given(DOCUMENTS, CHANGES, DOCUMENTS)
def test_patched_values_never_enter_the_base(
    base: dict[str, object], changes: dict[str, object], edited: dict[str, object]
) -> None:
    split = without(edited, base, changes)
    for key, value in changes.items():
        if not isinstance(value, dict):
            assert split.get(key, "none") == base.get(key, "none")


@given(DOCUMENTS, CHANGES, CHANGES)
def test_the_base_comes_back_from_under_patches_that_replace_what_others_changed(
    base: dict[str, object], first: dict[str, object], then: dict[str, object]
) -> None:
    """Also when what they add up to was in the journal meanwhile."""
    changes = unpacked(json.loads(json.dumps(packed(compose(first, then)))))
    assert without(merge(base, changes), base, changes) == base


def test_a_mapping_that_was_replaced_is_whole_again_in_the_base() -> None:
    base = "retry: {count: 2, wait: 0.5}\n"
    changes = unpacked(json.loads(json.dumps(packed(compose({"retry": "never"}, {"retry": {"count": None}})))))
    edited = "retry: {}\nnote: 1\n"
    assert adopt(base, changes, edited).base == base + "note: 1\n"


def test_differences_are_dotted_paths() -> None:
    assert differences({"a": 1, "m": {"x": 1, "y": [1]}}, {"a": True, "m": {"x": 1, "z": 0}}) == ["a", "m.y", "m.z"]
    assert differences({"a": {}}, {"a": {"b": 1}}) == ["a", "a.b"]
