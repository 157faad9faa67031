"""A person's edit is split between the base and the patches."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_svc import dry_run
from hms_svc.candidate import mapping
from hms_svc.drift import adopt, changes, differences, remaining, without
from hms_svc.merge import compose, merge, packed, unpacked
from hms_svc.settings import Settings

from .bench import Bench
from .makers import Hands

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


@given(DOCUMENTS, CHANGES)
def test_what_remains_of_patches_is_enough_to_find_the_base(
    base: dict[str, object], overlay: dict[str, object]
) -> None:
    made = merge(base, overlay)
    assert without(made, base, remaining(base, overlay, made)) == base
    assert remaining(base, overlay, base) == {}


@given(DOCUMENTS, DOCUMENTS)
def test_a_file_of_which_nothing_is_known_can_be_healed_whole(
    found: dict[str, object], base: dict[str, object]
) -> None:
    assert without(found, base, changes(found, base)) == base


def test_of_an_edited_file_remains_what_nobody_touched() -> None:
    overlay = {"a": 5, "m": {"x": 9}, "gone": None}
    assert remaining({"a": 1, "gone": 1}, overlay, {"a": 6, "m": {"x": 9, "y": 1}}) == {"m": {"x": 9}, "gone": None}


def test_a_mapping_that_was_replaced_is_whole_again_in_the_base() -> None:
    base = "retry: {count: 2, wait: 0.5}\n"
    changes = unpacked(json.loads(json.dumps(packed(compose({"retry": "never"}, {"retry": {"count": None}})))))
    edited = "retry: {}\nnote: 1\n"
    assert adopt(base, changes, edited).base == base + "note: 1\n"


def test_differences_are_dotted_paths() -> None:
    assert differences({"a": 1, "m": {"x": 1, "y": [1]}}, {"a": True, "m": {"x": 1, "z": 0}}) == ["a", "m.y", "m.z"]
    assert differences({"a": {}}, {"a": {"b": 1}}) == ["a", "a.b"]


def test_an_edit_of_files_that_worked_once_is_no_edit_of_what_they_are_older_than(
    configure: Callable[..., Settings], hands: Hands
) -> None:
    """Fallen back to files of an older base: what a person changes there counts, what was not there before does not."""
    bench = Bench(configure(HMS_CHECK="sh -c '! grep -q bad {conf}'", HMS_BAKE="2"), hands)
    bench.settle(seconds=4)
    bench.settle(7, seconds=0.5)
    bench.conf.write_text("a: 7\nb: 1\n")
    assert bench.settle(7, seconds=1) == "a: 7\nb: 1\n"
    bench.conf.write_text("a: 5\nb: 1\nc: bad\n")
    assert bench.settle(7) == "a: 1\n", "what worked, from before both edits"
    bench.conf.write_text("a: 1\nd: 1  # mine\n")
    assert bench.settle(7) == "a: 1\n", "nobody has mended c"
    again = bench.again()
    again.conf.write_text("c: 2\n")
    assert mapping(dry_run._base(again.settings, again.journal)) == {"b": 1, "c": 2, "d": 1}
    assert mapping(again.settle(7, seconds=5)) == {"a": 7, "b": 1, "c": 2, "d": 1}
    assert mapping(again.settle(seconds=5)) == {"b": 1, "c": 2, "d": 1}
    again.conf.write_text("b: 3\n")
    assert again.settle(seconds=5) == "b: 3\n", "of files as they should be, an edit is what it says"
