"""Two patches on the same key, in any order of coming and going: conf = fold(base, active), never an undo (promise 16).

A asks for less and stands longer; B has the higher priority. Each also has a key of its own, B one that the base
does not know.
"""

import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import yaml

from hms_svc import wire

from .system import Sight, System, await_instant, until

A: dict[str, Any] = {"rate_limit_rps": 200, "search.page_size": 40}
B: dict[str, Any] = {
    "rate_limit_rps": 300,
    "logging": {"level": "info"},
    "notice": {"text": "Market day: closed at 18:00"},
}
PRIORITY = {"A": 10, "B": 20}
# What the file says, by the patches in force: the limit, the level, the page size.
FOLDS: Mapping[str, tuple[int, str, int]] = {
    "": (50, "warn", 25),
    "A": (200, "warn", 40),
    "B": (300, "info", 25),
    "AB": (300, "info", 40),
}


class Overlap:
    """The two patches on a system, and what every instance must show for those in force."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.base = {name: seen.conf for name, seen in system.sight().items()}
        self.ids: dict[str, int] = {}

    def apply(self, name: str, window: dict[str, str]) -> None:
        changes = {"A": A, "B": B}[name]
        self.ids[name] = self.system.apply(changes, window, priority=PRIORITY[name])

    def roll_back(self, name: str) -> None:
        self.system.roll_back(self.ids[name])

    def wrong(self, in_force: str) -> dict[str, Sight]:
        """Return the instances that show anything but the fold of the patches in force."""
        return {
            name: seen
            for name, seen in self.system.sight().items()
            if seen.limit != str(FOLDS[in_force][0]) or not is_fold(self.base[name], seen.conf, in_force)
        }

    def shows(self, in_force: str) -> None:
        assert not self.wrong(in_force), f"with {in_force or 'no patch'} in force"

    def shows_by(self, epoch: float, in_force: str) -> None:
        """Wait for the fold, which must be there by an instant of the wall clock."""
        within = epoch - time.time()
        until(f"{in_force or 'the base'} on time", lambda: self.wrong(in_force), lambda wrong: not wrong, within)


def is_fold(base: bytes, conf: bytes, in_force: str) -> bool:
    """Tell whether a conf.yml has the values, and besides them every byte of the base where it was."""
    limit, level, size = FOLDS[in_force]
    expected = base.replace(b"rate_limit_rps: 50 ", b"rate_limit_rps: %d " % limit)
    expected = expected.replace(b"level: warn ", b"level: %s " % level.encode())
    expected = expected.replace(b"page_size: 25\n", b"page_size: %d\n" % size)
    if "B" not in in_force:
        return conf == expected
    notice = yaml.safe_load(conf.removeprefix(expected)) if conf.startswith(expected) else None
    return bool(notice == {"notice": B["notice"]})


@pytest.fixture
def overlap(system: System) -> Overlap:
    made = Overlap(system)
    made.shows("")
    return made


@pytest.mark.parametrize("order", ["AB", "BA"])
def test_promise_16_conf_is_the_fold_when_both_windows_end(overlap: Overlap, order: str) -> None:
    began = time.time()
    ends = {"B": began + 8, "A": began + 10}
    first, second = order[0], order[1]
    overlap.apply(first, {"start": "now", "end": wire.rfc3339(ends[first])})
    overlap.shows(first)
    overlap.apply(second, {"start": "now", "end": wire.rfc3339(ends[second])})
    overlap.shows("AB")
    assert time.time() < ends["B"], "the machine was too slow for these windows"
    # A window's end is kept by each sidecar itself, within a second.
    await_instant(ends["B"])
    overlap.shows_by(ends["B"] + 1, "A")
    overlap.system.reaches(overlap.ids["B"], "EXPIRED")
    overlap.shows("A")
    await_instant(ends["A"])
    overlap.shows_by(ends["A"] + 1, "")
    overlap.system.reaches(overlap.ids["A"], "EXPIRED")
    overlap.shows("")


@pytest.mark.parametrize("order", ["AB", "BA"])
@pytest.mark.parametrize("ended_first", ["A", "B"])
def test_promise_16_conf_is_the_fold_when_either_is_rolled_back_first(
    overlap: Overlap, order: str, ended_first: str
) -> None:
    window = {"start": "now", "duration": "20m"}
    for name, in_force in ((order[0], order[0]), (order[1], "AB")):
        overlap.apply(name, window)
        overlap.shows(in_force)
    left = "B" if ended_first == "A" else "A"
    overlap.roll_back(ended_first)
    overlap.shows(left)
    overlap.roll_back(left)
    overlap.shows("")


def test_promise_16_a_patch_in_force_cannot_be_cancelled_and_an_ended_one_not_ended_again(overlap: Overlap) -> None:
    overlap.apply("A", {"start": "now", "duration": "20m"})
    patch = f"/api/patch/{overlap.ids['A']}"
    assert overlap.system.ask("POST", f"{patch}/cancel").status_code == httpx.codes.CONFLICT
    overlap.shows("A")
    overlap.roll_back("A")
    assert overlap.system.ask("POST", f"{patch}/rollback").status_code == httpx.codes.CONFLICT
    overlap.shows("")
