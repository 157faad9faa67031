"""Refusals: what a person is told, and what to do about it."""

from typing import Any

import pytest

from hms_cli.problem import problem_lines, refusal, refusal_lines

from .documents import CONFLICT, END, EXCESS, FREEZE, NEXT_FREE, START
from .documents import refusal as refused
from .fake_mgt import problem

FIELD = ("/changes/rate_limit_rps", "patch 783 sets rate_limit_rps, too")
OPEN = {**CONFLICT, "patch_id": 780, "overlap": {"start": START, "end": None}}


def lines(code: str, detail: str = "no", **facts: Any) -> list[str]:
    """The lines, which are the same whether it was foreseen or happened."""
    foreseen = refusal_lines(refusal(refused(code, detail, FIELD, **facts)))
    assert problem_lines(problem(409, detail, FIELD, code=code, **facts), 409) == foreseen
    return foreseen


def test_a_conflict_names_each_patch_the_next_free_window_and_the_ways_out() -> None:
    assert lines("patch_conflict", conflicts=[CONFLICT, OPEN], next_free=NEXT_FREE) == [
        "patch/783 sets rate_limit_rps too, of version 2.1.0, 2.2.0, from 2026-11-24 00:00Z to 2026-12-01 00:00Z",
        "patch/780 sets rate_limit_rps too, of version 2.1.0, 2.2.0, from 2026-11-24 00:00Z to further notice",
        f"the next free window is {END} to 2026-12-08T00:00:00Z",
        "give the patch another window or priority, or say in it: supersedes: [783, 780]",
    ]


@pytest.mark.parametrize(
    ("free", "said"), [(None, "no later window is free"), ({"start": END, "end": None}, f"{END} and later")]
)
def test_there_may_be_no_free_window_or_one_without_an_end(free: object, said: str) -> None:
    assert said in lines("patch_conflict", conflicts=[CONFLICT], next_free=free)[1]


def test_an_excess_tells_the_instant_and_how_much_less_to_ask_for() -> None:
    detail = f"replicas would come to 14 at {START}, 2 over the quota of 12 for tenant IACB"
    way_out = "ask for 2 less of replicas, take another window, or have the quota raised"
    assert lines("quota_exceeded", detail, excess=EXCESS) == [detail, way_out]
    assert "the platform cap raised" in lines("quota_exceeded", excess={**EXCESS, "whose": "platform cap"})[1]


@pytest.mark.parametrize(("tenant", "whom"), [("IACB", "tenant IACB"), ("*", "every tenant"), (None, "every tenant")])
def test_a_freeze_tells_whom_it_holds_why_and_the_first_free_start(tenant: str | None, whom: str) -> None:
    assert lines("frozen", freeze={**FREEZE, "tenant": tenant}, free_from=FREEZE["ends_at"]) == [
        f"freeze/3 holds {whom} until 2027-01-04 06:00Z: holidays",
        "start the patch at 2027-01-04T06:00:00Z or later, or have the freeze lifted: hms freeze lift 3",
    ]


def test_a_lost_race_says_that_nothing_was_written() -> None:
    [line] = problem_lines(problem(412, "no", code="precondition_failed", etag='"v8"'), 412)
    assert "nothing was written" in line


@pytest.mark.parametrize("code", ["patch_conflict", "quota_exceeded", "frozen"])
@pytest.mark.parametrize(
    "facts", [{}, {"conflicts": [], "excess": None, "freeze": "x"}, {"conflicts": ["x"], "excess": 1, "freeze": []}]
)
def test_facts_of_another_make_leave_the_words(code: str, facts: dict[str, Any]) -> None:
    assert lines(code, **facts) == ["field /changes/rate_limit_rps: patch 783 sets rate_limit_rps, too"]


@pytest.mark.parametrize("code", ["patch_conflict", "quota_exceeded", "frozen"])
def test_facts_with_nothing_in_them_are_still_lines(code: str) -> None:
    assert all(lines(code, conflicts=[{}], excess={}, freeze={}))
