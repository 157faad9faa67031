"""Freezes: times in which no rollout begins. What is in force stays, and what ends or goes back is never held."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt.domain import ids
from hms_mgt.domain.access import Role
from hms_mgt.domain.line import line_problems
from hms_mgt.domain.patch import Patch
from hms_mgt.domain.window import Window, WindowError, parse_window
from hms_mgt.errors import Invalid, Problem, pointer

# In place of a tenant: the freeze is every tenant's.
PLATFORM = "*"
_WINDOW = ("start", "end", "duration")
_FIELDS = ("tenant", *_WINDOW, "reason", "except_roles")


class NewFreeze(NamedTuple):
    """A freeze about to be made. Half-open, `[starts_at, ends_at)`."""

    tenant: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    # The roles whose patches it does not hold.
    except_roles: tuple[str, ...]


class Freeze(NamedTuple):
    """A stored freeze. Nothing deletes one; one that is not wanted any more is lifted."""

    id: int
    tenant: str
    starts_at: datetime
    ends_at: datetime
    reason: str
    except_roles: tuple[str, ...]
    created_by: str
    created_at: datetime
    lifted_at: datetime | None = None
    lifted_by: str | None = None

    def holds(self, at: datetime) -> bool:
        """Tell whether the freeze is in force at an instant."""
        return self.lifted_at is None and self.starts_at <= at < self.ends_at


def holding(freezes: Iterable[Freeze], at: datetime) -> Freeze | None:
    """Return the freeze in force at an instant, of several the one that ends last, or `None`."""
    return max((one for one in freezes if one.holds(at)), key=lambda one: (one.ends_at, one.id), default=None)


def exemption(freeze: Freeze, role: str, break_glass: bool) -> str | None:  # noqa: FBT001
    """Return the words for why a freeze does not hold a patch of an author in this role, or `None` where it does."""
    if break_glass:
        return "break-glass"
    return _by_role(role) if role in freeze.except_roles else None


def _by_role(role: str) -> str:
    return f"role {role}"


def going_on(number: int) -> str:
    """Return the words for why a freeze does not hold what takes the place of a patch in force: nothing begins."""
    return f"goes on with patch {number}"


def exemption_of(freeze: Freeze, patch: Patch) -> str | None:
    """Return the words for why a freeze does not hold an approved patch, or `None` where it does.

    What a patch is exempted for in itself, such as going back to what was, holds against every freeze. An exception by
    role is each freeze's own to make: who is excepted from one may still be held by another.
    """
    if patch.freeze_exemption not in {None, _by_role(patch.author_role)}:
        return patch.freeze_exemption
    return exemption(freeze, patch.author_role, patch.spec.break_glass)


def binding(freezes: Iterable[Freeze], role: str, break_glass: bool) -> list[Freeze]:  # noqa: FBT001
    """Return those of the freezes that hold a patch of an author in this role."""
    return [one for one in freezes if exemption(one, role, break_glass) is None]


def free_from(freezes: Sequence[Freeze], at: datetime) -> datetime:
    """Return the first instant from `at` on that no freeze holds; where one ends in another, the other's end counts."""
    while (freeze := holding(freezes, at)) is not None:
        at = freeze.ends_at
    return at


def read_freeze(document: Any, now: datetime) -> NewFreeze:
    """Check a freeze document, `{tenant, start, end, reason, except_roles}`, and return it typed.

    Without a tenant it is the whole platform's. The window is read as a patch's is, but it must have an end.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    if not isinstance(document, Mapping):
        raise Invalid.of([Problem("", "a freeze is a mapping with start, end and reason")])
    known = ", ".join(_FIELDS)
    found = [Problem(pointer(key), f"unknown field; a freeze has {known}") for key in document if key not in _FIELDS]
    if "tenant" in document and not ids.is_id(document["tenant"]):
        found.append(Problem("/tenant", f"{ids.RULE}; leave it out for a freeze of the whole platform"))
    window = _window(document, now, found)
    found += line_problems(document.get("reason", ""), "/reason", required=True)
    roles = _roles(document.get("except_roles", []), found)
    if found or window is None or window.end is None:
        raise Invalid.of(found)
    return NewFreeze(document.get("tenant", PLATFORM), window.start, window.end, document["reason"], roles)


def _window(document: Mapping[str, Any], now: datetime, found: list[Problem]) -> Window | None:
    try:
        window = parse_window({name: document[name] for name in _WINDOW if name in document}, now)
    except WindowError as error:
        found.append(Problem(error.problem.pointer.removeprefix("/window"), error.problem.detail))
        return None
    if window.end is None:
        found.append(Problem("/end", "is required: a freeze ends by itself"))
    return window


def _roles(value: Any, found: list[Problem]) -> tuple[str, ...]:
    if not isinstance(value, list):
        found.append(Problem("/except_roles", "must be a list of roles"))
        return ()
    known = ", ".join(Role)
    wrong = [index for index, role in enumerate(value) if not isinstance(role, str) or role not in set(Role)]
    found += [Problem(pointer("except_roles", index), f"is not a role; there are {known}") for index in wrong]
    return () if wrong else tuple(dict.fromkeys(value))
