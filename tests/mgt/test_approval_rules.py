"""The rules of approvals alone: which obligations can be carried out, and when they are."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_mgt.domain.access import ALLOWED, Permission, Role
from hms_mgt.domain.approval import (
    Approval,
    Obligation,
    UnknownObligationError,
    Word,
    as_signed,
    missing,
    read_comment,
    read_obligations,
    roles_asked,
)
from hms_mgt.errors import Invalid

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ABLE = ("approver", "release_manager")
PEOPLE = ("ann", "ben", "cem", "dan")
obligations = st.builds(
    Obligation,
    st.integers(1, 4),
    st.lists(st.sampled_from(ABLE), min_size=1, max_size=2, unique=True).map(tuple),
)
words = st.builds(
    Approval, st.sampled_from(PEOPLE), st.sampled_from(list(Role)), st.sampled_from(Word), st.just(""), st.just(NOW)
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


def said(approver: str, role: str = "approver", verdict: Word = Word.APPROVE) -> Approval:
    return Approval(approver, role, verdict, "", NOW)


@given(st.lists(obligations, max_size=3), st.lists(words, max_size=6))
def test_nothing_is_missing_exactly_when_enough_different_people_of_the_roles_approved(
    asked: list[Obligation], given_words: list[Approval]
) -> None:
    met = all(
        sum(
            any(one.approver == name and one.verdict is Word.APPROVE and one.role in each.roles for one in given_words)
            for name in PEOPLE
        )
        >= each.approvals
        for each in asked
    )
    assert (missing(asked, given_words) is None) == met


@given(st.lists(obligations, max_size=3), st.lists(words, max_size=6), words)
def test_another_word_never_takes_an_approval_away(
    asked: list[Obligation], given_words: list[Approval], another: Approval
) -> None:
    if missing(asked, given_words) is None:
        assert missing(asked, [*given_words, another]) is None


@given(obligations)
def test_a_well_formed_obligation_reads_as_it_was_written(asked: Obligation) -> None:
    document = {"approvals": asked.approvals, "roles": list(asked.roles)}
    assert read_obligations([document]) == [asked]


@given(json_values | st.fixed_dictionaries({"approvals": json_values}, optional={"roles": json_values}))
def test_whatever_gov_obliges_is_understood_to_the_letter_or_not_at_all(document: Any) -> None:
    try:
        (read,) = read_obligations([document])
    except UnknownObligationError:
        return
    assert document.keys() <= {"approvals", "roles"}
    assert type(document["approvals"]) is int
    assert read.approvals == document["approvals"] >= 1
    assert all(Permission.APPROVE in ALLOWED[Role(role)] for role in read.roles)


@pytest.mark.parametrize(
    "document",
    [
        None,
        "approvals",
        {},
        {"approvers": 2},
        {"approvals": 0},
        {"approvals": -1},
        {"approvals": True},
        {"approvals": 1.0},
        {"approvals": "2"},
        {"approvals": 21},
        {"approvals": 1, "roles": []},
        {"approvals": 1, "roles": "approver"},
        {"approvals": 1, "roles": ["viewer"]},
        {"approvals": 1, "roles": ["platform_admin"]},
        {"approvals": 1, "roles": ["approver", "janitor"]},
        {"approvals": 1, "roles": [["approver"]]},
        {"approvals": 1, "until": "2026-12-01T00:00:00Z"},
        {"change_ticket": True},
    ],
)
def test_what_nobody_here_can_carry_out_is_refused(document: Any) -> None:
    with pytest.raises(UnknownObligationError):
        read_obligations([{"approvals": 1}, document])


def test_approvers_are_meant_where_no_role_is_named() -> None:
    assert read_obligations([{"approvals": 2}]) == [Obligation(2, ("approver",))]


def test_what_is_missing_is_said_in_words() -> None:
    two, three = Obligation(2, ("approver",)), Obligation(3, ABLE)
    assert missing([two], []) == "waiting for 2 approvals by approver (0 of 2)"
    assert missing([two, three], [said("ann"), said("ben")]) == (
        "waiting for 3 approvals by approver or release_manager (2 of 3)"
    )
    assert missing([two, three], [said("ann")]) == (
        "waiting for 2 approvals by approver (1 of 2) and 3 approvals by approver or release_manager (1 of 3)"
    )
    assert missing([Obligation(1, ("approver",))], []) == "waiting for 1 approval by approver (0 of 1)"
    assert roles_asked([two, three]) == ["approver", "release_manager"]


def test_only_approvals_are_signed_and_no_comment_is() -> None:
    words = [said("ann")._replace(comment="fine"), said("ben", verdict=Word.REJECT)]
    assert as_signed(words) == [{"approver": "ann", "role": "approver", "at": "2026-11-23T12:00:00Z"}]


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ([], ""),
        ("no", ""),
        ({"comment": 5}, "/comment"),
        ({"comment": "two\nlines"}, "/comment"),
        ({"comment": "x" * 501}, "/comment"),
        ({"reason": "no"}, "/reason"),
    ],
)
def test_a_comment_is_one_line_and_all_there_is(document: Any, where: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_comment(document, required=False)
    assert where in [one.pointer for one in caught.value.problems]


@pytest.mark.parametrize("document", [None, {}, {"comment": ""}, {"comment": "  "}])
def test_who_rejects_says_why(document: Any) -> None:
    assert read_comment(document, required=False).strip() == ""
    with pytest.raises(Invalid, match="say why"):
        read_comment(document, required=True)
