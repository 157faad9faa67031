"""The rules of freezes alone: which one holds, whom it does not hold, and when it is over."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_mgt.domain.access import Role
from hms_mgt.domain.freeze import PLATFORM, Freeze, binding, exemption, exemption_of, free_from, holding, read_freeze
from hms_mgt.errors import Invalid
from tests.mgt.planned import ZERO, asked, at, standing, window

HOUR = 60


def frozen(start: int, end: int, number: int = 1, *, lifted: bool = False, roles: tuple[str, ...] = ()) -> Freeze:
    lift = (at(0), "ann") if lifted else (None, None)
    return Freeze(number, "IACB", at(start), at(end), "holidays", roles, "ann", ZERO, *lift)


@st.composite
def freezes(draw: st.DrawFn) -> list[Freeze]:
    spans = draw(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 30), st.booleans()), max_size=6))
    return [
        frozen(start, start + length, number, lifted=lifted) for number, (start, length, lifted) in enumerate(spans)
    ]


@given(freezes(), st.integers(0, 100))
def test_the_first_free_minute_is_what_looking_at_every_minute_says(found: list[Freeze], minute: int) -> None:
    free = next(m for m in range(minute, 200) if not any(one.holds(at(m)) for one in found))
    assert free_from(found, at(minute)) == at(free)
    assert holding(found, free_from(found, at(minute))) is None


@given(freezes(), st.integers(0, 100))
def test_of_those_in_force_the_one_that_ends_last_holds(found: list[Freeze], minute: int) -> None:
    on = [one for one in found if one.starts_at <= at(minute) < one.ends_at and one.lifted_at is None]
    held_by = holding(found, at(minute))
    assert (held_by is None) == (not on)
    assert held_by is None or (held_by in on and held_by.ends_at == max(one.ends_at for one in on))


def test_freezes_one_after_the_other_hold_to_the_end_of_the_last() -> None:
    chained = [frozen(0, 60, 1), frozen(60, 120, 2), frozen(110, 130, 3), frozen(131, 140, 4)]
    assert free_from(chained, at(5)) == at(130)
    assert free_from(chained, at(130)) == at(130)


def test_a_freeze_is_half_open_and_a_lifted_one_holds_nothing() -> None:
    assert holding([frozen(10, 20)], at(10)) is not None
    assert holding([frozen(10, 20)], at(20)) is None
    assert holding([frozen(10, 20, lifted=True)], at(15)) is None


def test_who_is_excepted_is_said_in_words() -> None:
    one = frozen(0, 60, roles=("release_manager",))
    assert exemption(one, "release_manager", break_glass=False) == "role release_manager"
    assert exemption(one, "approver", break_glass=False) is None
    assert exemption(frozen(0, 60), "release_manager", break_glass=True) == "break-glass"
    assert binding([one, frozen(0, 60, 2)], "release_manager", break_glass=False) == [frozen(0, 60, 2)]


def test_an_exception_by_role_is_good_for_its_own_freeze_only_and_any_other_for_all() -> None:
    patch = standing(1, asked({"a": 1}, window(0, None)))
    lenient, strict = frozen(0, 60, 1, roles=("release_manager",)), frozen(0, 60, 2)
    by_role = patch._replace(freeze_exemption="role release_manager")
    assert (exemption_of(lenient, by_role), exemption_of(strict, by_role)) == ("role release_manager", None)
    back = patch._replace(freeze_exemption="back to revision 4")
    assert exemption_of(strict, back) == "back to revision 4"
    fire = patch._replace(spec=patch.spec._replace(break_glass=True))
    assert exemption_of(strict, fire) == "break-glass"


GOOD: dict[str, Any] = {
    "tenant": "IACB",
    "start": "2026-12-18T18:00Z",
    "end": "2027-01-04T06:00Z",
    "reason": "holidays",
}


def test_a_freeze_reads() -> None:
    read = read_freeze({**GOOD, "except_roles": ["release_manager", "release_manager"]}, ZERO)
    assert (read.tenant, read.reason, read.except_roles) == ("IACB", "holidays", ("release_manager",))
    assert read.ends_at > read.starts_at
    everywhere = read_freeze({"duration": "1h", "reason": "incident"}, ZERO)
    assert everywhere == (PLATFORM, at(0), at(HOUR), "incident", ())


@pytest.mark.parametrize(
    ("changed", "where"),
    [
        ({"tenant": "*"}, "/tenant"),
        ({"tenant": None}, "/tenant"),
        ({"end": None}, "/end"),
        ({"end": "2026-12-18T18:00Z"}, "/end"),
        ({"start": "soon"}, "/start"),
        ({"duration": "1h"}, "/duration"),
        ({"end": "2026-11-01T00:00Z", "start": "2026-10-01T00:00Z"}, "/end"),
        ({"reason": ""}, "/reason"),
        ({"reason": " "}, "/reason"),
        ({"reason": "two\nlines"}, "/reason"),
        ({"except_roles": "approver"}, "/except_roles"),
        ({"except_roles": ["approver", "janitor"]}, "/except_roles/1"),
        ({"except_roles": [["approver"]]}, "/except_roles/0"),
        ({"window": {}}, "/window"),
        ({"until": "x"}, "/until"),
    ],
)
def test_what_is_no_freeze_is_pointed_at(changed: dict[str, Any], where: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_freeze({**GOOD, **changed}, ZERO)
    assert [one.pointer for one in caught.value.problems] == [where]


@pytest.mark.parametrize("document", [None, [], "freeze", {}])
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(Invalid):
        read_freeze(document, ZERO)


@given(
    st.dictionaries(
        st.sampled_from(["tenant", "start", "end", "duration", "reason", "except_roles", "x"]),
        st.none() | st.integers() | st.text(max_size=5) | st.lists(st.sampled_from(["approver", "x", 5]), max_size=2),
    )
)
def test_any_freeze_document_is_read_or_refused(document: dict[str, Any]) -> None:
    try:
        read = read_freeze(document, ZERO)
    except Invalid:
        return
    assert read.ends_at > read.starts_at
    assert set(read.except_roles) <= set(Role)
