"""Who is still waited for, and what marks a patch."""

from typing import Any

import pytest

from hms_cli import approvals, text
from hms_cli.outcome import waits_for

from .fake_mgt import patch

TWO = {"approvals": 2}
ANY = {"approvals": 1, "roles": ["approver", "release_manager"]}


def word(approver: str, role: str = "approver", verdict: str = "approve") -> dict[str, str]:
    return {"approver": approver, "role": role, "verdict": verdict, "comment": "", "at": "2026-11-24T00:00:00Z"}


@pytest.mark.parametrize(
    ("obliged", "said", "words"),
    [
        ([TWO], [], "2 of 2 approvals by approver"),
        ([TWO], [word("ada")], "1 of 2 approvals by approver"),
        ([TWO], [word("ada"), word("ada")], "1 of 2 approvals by approver"),
        ([TWO], [word("ada"), word("bob", "release_manager")], "1 of 2 approvals by approver"),
        ([TWO], [word("ada", verdict="reject")], "2 of 2 approvals by approver"),
        ([ANY], [], "1 of 1 approval by approver or release_manager"),
        ([TWO, ANY], [], "2 of 2 approvals by approver and 1 of 1 approval by approver or release_manager"),
        ([TWO, ANY], [word("bob", "release_manager")], "2 of 2 approvals by approver"),
        ([{"call": "the boss"}], [], "approval"),
        ([7, None, {"approvals": "two"}], [], "approval"),
    ],
)
def test_who_is_waited_for(obliged: list[Any], said: list[Any], words: str) -> None:
    seen = patch("AWAITING_APPROVAL", obligations=obliged, approvals=said)
    assert approvals.awaited(seen) == words
    assert waits_for(seen) == words


def test_nobody_is_waited_for_in_another_status() -> None:
    assert approvals.awaited(patch("APPROVED", obligations=[TWO])) == ""


@pytest.mark.parametrize("mark", ["", "break-glass: "])
def test_a_listing_has_the_servers_count(mark: str) -> None:
    listed = patch("AWAITING_APPROVAL", status_reason=f"{mark}waiting for 2 approvals by approver (1 of 2)")
    del listed["approvals"]
    assert approvals.awaited(listed) == "2 approvals by approver (1 of 2)"


def test_what_a_policy_asks_for() -> None:
    assert approvals.asked([TWO, ANY]) == "2 approvals by approver and 1 approval by approver or release_manager"
    assert approvals.asked([{"call": "the boss"}]) == '{"call": "the boss"}'
    assert approvals.asked(None) == ""


def test_a_freeze_is_waited_for() -> None:
    assert waits_for(patch("SCHEDULED", held_until="2027-01-04T06:00:00Z")) == "a freeze to end at 2027-01-04T06:00:00Z"


def test_an_emergency_is_marked() -> None:
    assert (text.mark(patch("APPLIED")), text.mark(patch("APPLIED", break_glass=True))) == ("", "BREAK-GLASS")
