"""What people still have to say about a patch. Pure.

GOV obliges so many approvals, by people in certain roles; the author never counts and everybody counts once. The
control plane decides when that is met. This only tells it, so that nobody has to ask who is waited for.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hms_cli import text

Patch = Mapping[str, Any]
_ROLES = ("approver",)  # those of an obligation that names none


class Obligation(NamedTuple):
    """So many approvals by people in these roles, and how many of them there are."""

    needed: int
    roles: Sequence[str]
    given: int = 0

    @property
    def asked(self) -> str:
        """`2 approvals by approver or release_manager`."""
        return f"{self.needed} {self._by}"

    @property
    def missing(self) -> str:
        """`1 of 2 approvals by approver`, or nothing once it is met."""
        left = self.needed - self.given
        return f"{left} of {self.needed} {self._by}" if left > 0 else ""

    @property
    def _by(self) -> str:
        return f"approval{'s' if self.needed > 1 else ''} by {' or '.join(self.roles)}"


def awaited(patch: Patch) -> str:
    """`1 of 2 approvals by approver`, or nothing where nobody is waited for."""
    if patch.get("status") != "AWAITING_APPROVAL":
        return ""
    if "approvals" not in patch:  # as in a listing: the server's own words count them
        return str(patch.get("status_reason")).rpartition("waiting for ")[2]
    return " and ".join(one.missing for one in obligations(patch) if one.missing) or "approval"


def obligations(patch: Patch) -> list[Obligation]:
    """What is obliged, with the approvals that count for it."""
    said = [one for one in patch.get("approvals") or () if one.get("verdict") == "approve"]
    read = (_read(one, said) for one in patch.get("obligations") or ())
    return [one for one in read if one is not None]


def asked(found: object) -> str:
    """What a policy obliges, in words; what we do not understand as it came."""
    every = found if isinstance(found, list) else []
    known = [(one, _read(one, ())) for one in every]
    return " and ".join(text.said(one) if read is None else read.asked for one, read in known)


def _read(one: object, said: Sequence[Mapping[str, Any]]) -> Obligation | None:
    if not isinstance(one, Mapping) or not isinstance(one.get("approvals"), int):
        return None
    roles = [str(role) for role in one.get("roles") or _ROLES]
    people = {word.get("approver") for word in said if word.get("role") in roles}
    return Obligation(one["approvals"], roles, len(people))
