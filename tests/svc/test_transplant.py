"""An edit of a file with patches in it, made to the base: nothing is lost that the edit left alone."""

from random import Random

import pytest

from hms_svc.drift import adopt
from hms_svc.merge import merge, same
from hms_svc.transplant import transplanted
from hms_svc.yaml_edit import edit
from hms_svc.yaml_tree import load
from tests.conditions import THOROUGH
from tests.svc.yaml_files import file, patch

COUNT = 60_000 if THOROUGH else 4_000
BASE = """# limits
rate: 50  # per second
hosts:
  - a  # first
  - b  # second
  # c is old
  - c
m:
  x: 1  # ex
last: 9
"""


@pytest.mark.parametrize(
    "overlay",
    [
        {"hosts": ["z"]},
        {"rate": 7},
        {"rate": None},
        {"m": None, "hosts": {"k": 1}},
        {"hosts": ["z"], "rate": 7},
        {"new": {"k": 1}},
    ],
    ids=str,
)
@pytest.mark.parametrize(("old", "new"), [("last: 9", "last: 10  # mine"), ("last: 9\n", "last: 9\nmore: [1]  # x\n")])
def test_an_edit_apart_from_the_patches_leaves_the_rest_of_the_base_as_it_was(
    overlay: dict[str, object], old: str, new: str
) -> None:
    edited = edit(BASE, merge(load(BASE), overlay)).replace(old, new)
    assert adopt(BASE, overlay, edited) == (BASE.replace(old, new), ())


def test_an_edit_across_what_a_patch_changed_is_not_carried_over_and_still_counts() -> None:
    overlay = {"hosts": ["z"]}
    edited = edit(BASE, merge(load(BASE), overlay)).replace("50", "60").replace("last: 9", "last: 10")
    assert transplanted(BASE, overlay, edited) is None
    assert load(adopt(BASE, overlay, edited).base) == merge(load(BASE), {"rate": 60, "last": 10})


def test_an_edit_of_a_patched_value_is_not_carried_over() -> None:
    assert transplanted(BASE, {"rate": 717}, BASE.replace("50", "7127")) is None
    assert adopt(BASE, {"rate": 717}, BASE.replace("50", "7127")) == (BASE, ("rate",))


def test_an_edit_just_before_or_behind_what_a_patch_changed_is_carried_over() -> None:
    made = BASE.replace("50", "717")
    assert transplanted(BASE, {"rate": 717}, made.replace("717", "717  ")) == BASE.replace("50", "50  ")
    assert transplanted(BASE, {"rate": 717}, made.replace("717", "  717")) == BASE.replace("50", "  50")


def test_random_edits_of_random_files_with_random_patches() -> None:
    as_if_alone = seen = 0
    for seed in range(COUNT):
        draw = Random(seed)  # noqa: S311 - to be drawn again, not to be secret
        base = file(draw)
        before = load(base)
        overlay = patch(draw, before)
        free = [key for key, value in before.items() if key not in overlay and isinstance(value, int | float)]
        if not free:
            continue
        change = {draw.choice(free): 7777}
        made = edit(base, merge(before, overlay))
        found = adopt(base, overlay, edit(made, merge(load(made), change))).base
        assert same(load(found), merge(before, change)), f"seed {seed}"
        seen += 1
        as_if_alone += found == edit(base, merge(before, change))
    assert seen > COUNT / 20
    assert as_if_alone > 0.99 * seen, f"{as_if_alone} of {seen}"
