"""Random files with comments, random changes: what is wanted is said, and no comment is lost that need not be.

400 of them by default, 20,000 with HMS_THOROUGH=1. A seed names each, so a failure says how to see it again.
"""

import re
import sys
from collections import Counter
from random import Random
from typing import Any

import pytest

from hms_svc import yaml_edit
from hms_svc.merge import merge, same
from hms_svc.yaml_edit import edit
from hms_svc.yaml_tree import load
from hms_svc.yaml_write import dump
from tests.conditions import THOROUGH
from tests.svc.yaml_files import file, must_stay, patch

COUNT = 20_000 if THOROUGH else 400
COMMENT = re.compile(r"# (?:above|head|by) [^\r\n#]*|# first|# last")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which ways edits took since it was last empty: fine cuts, then coarse ones, then written out plainly."""
    taken: list[str] = []
    cuts = yaml_edit._Cuts

    def noted_cuts(text: str, *, fine: bool) -> Any:
        taken.append("fine" if fine else "coarse")
        return cuts(text, fine=fine)

    def noted_dump(document: Any) -> str:
        taken.append("plain")
        return dump(document)

    monkeypatch.setattr(yaml_edit, "_Cuts", noted_cuts)
    monkeypatch.setattr(yaml_edit, "dump", noted_dump)
    return taken


def test_random_changes_to_random_files(ways: list[str]) -> None:
    there: Counter[str] = Counter()
    back: Counter[str] = Counter()
    for seed in range(COUNT):
        draw = Random(seed)  # noqa: S311 - to be drawn again, not to be secret
        text = file(draw)
        before = load(text)
        wanted = merge(before, patch(draw, before))
        ways[:] = ["none"]
        result = edit(text, wanted)
        there[ways[-1]] += 1
        assert same(load(result), wanted), f"seed {seed}"
        assert lost(text, result, before, wanted, ways[-1]) == [], f"seed {seed}"
        ways[:] = ["none"]
        assert same(load(edit(result, before)), before), f"seed {seed}, back"
        back[ways[-1]] += 1
    sys.stdout.write(f"{COUNT} changes: {dict(there)}, and back: {dict(back)}\n")
    assert there["fine"] > 0.8 * COUNT
    assert there["plain"] == back["plain"] == 0


def lost(text: str, result: str, before: Any, wanted: Any, way: str) -> list[str]:
    """The comments that should have stayed and did not. Coarse cuts answer only for those outside the document."""
    gone = comments(text) - comments(result)
    return [one for one in gone if one in {"# first", "# last"} or (way == "fine" and must_stay(one, before, wanted))]


def comments(text: str) -> set[str]:
    return {found.rstrip() for found in COMMENT.findall(text)}
