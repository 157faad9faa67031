"""Approvals: what GOV obliges people to say before a patch may go on, and whether they have said it."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from hms_mgt.domain.access import ALLOWED, Permission, Role
from hms_mgt.domain.line import line_problems
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import Invalid, Problem, pointer

_MOST_APPROVALS = 20
_DEFAULT_ROLES = (Role.APPROVER,)


class Word(StrEnum):
    """What a person says about a patch."""

    APPROVE = "approve"
    REJECT = "reject"


class Approval(NamedTuple):
    """One person's word on one patch."""

    approver: str
    role: str
    verdict: Word
    comment: str
    at: datetime


class Obligation(NamedTuple):
    """So many different people in these roles have to approve; the author of the patch never counts."""

    approvals: int
    roles: tuple[str, ...]


class UnknownObligationError(ValueError):
    """GOV obliges something that nobody here can carry out."""


def read_obligations(found: Iterable[Any]) -> list[Obligation]:
    """Read what GOV obliges: `{"approvals": n}`, with `"roles": [...]` where not approvers are meant.

    Raises:
        UnknownObligationError: for anything else. What is not understood is not met.
    """
    return [_obligation(one) for one in found]


def _obligation(one: Any) -> Obligation:
    if not isinstance(one, Mapping) or "approvals" not in one or one.keys() - {"approvals", "roles"}:
        raise UnknownObligationError('there is only {"approvals": n, "roles": [...]}')
    count, roles = one["approvals"], one.get("roles", list(_DEFAULT_ROLES))
    if type(count) is not int or not 1 <= count <= _MOST_APPROVALS:
        raise UnknownObligationError(f"approvals must be a whole number from 1 to {_MOST_APPROVALS}")
    if not isinstance(roles, list) or not roles:
        raise UnknownObligationError("roles must be a list that names a role")
    return Obligation(count, tuple(dict.fromkeys(_approving(role) for role in roles)))


def _approving(role: Any) -> str:
    able = [known for known in Role if Permission.APPROVE in ALLOWED[known]]
    if not isinstance(role, str) or role not in able:
        raise UnknownObligationError(f"roles that approve are {', '.join(able)}")
    return role


def roles_asked(obligations: Iterable[Obligation]) -> list[str]:
    """Return the roles whose word counts for any of the obligations."""
    return sorted({role for one in obligations for role in one.roles})


def _given(obligation: Obligation, approvals: Iterable[Approval]) -> int:
    """Count the different people whose approval counts for an obligation."""
    return len(
        {one.approver for one in approvals if one.verdict is Word.APPROVE and one.role in obligation.roles},
    )


def missing(obligations: Iterable[Obligation], approvals: Sequence[Approval]) -> str | None:
    """Say in words what is still waited for, or return `None` when every obligation is met."""
    left = [one for one in obligations if _given(one, approvals) < one.approvals]
    if not left:
        return None
    return "waiting for " + " and ".join(f"{_words(one)} ({_given(one, approvals)} of {one.approvals})" for one in left)


def _words(one: Obligation) -> str:
    return f"{one.approvals} approval{'s' if one.approvals > 1 else ''} by {' or '.join(one.roles)}"


def as_signed(words: Iterable[Approval]) -> list[dict[str, str]]:
    """Return the approvals as the stream's signed messages carry them; the comments stay in the record."""
    return [
        {"approver": one.approver, "role": one.role, "at": rfc3339(one.at)}
        for one in words
        if one.verdict is Word.APPROVE
    ]


def read_comment(document: Any, *, required: bool) -> str:
    """Check what came with a word, `{"comment": ...}` or, where none is required, nothing. Returns the comment.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    given = {} if document is None else document
    if not isinstance(given, Mapping):
        raise Invalid.of([Problem("", "want a mapping with a comment")])
    found = [Problem(pointer(key), "unknown field; there is only comment") for key in given if key != "comment"]
    comment: str = given.get("comment", "")
    found += line_problems(comment, "/comment", required=required)
    if found:
        raise Invalid.of(found)
    return comment
