"""What a service token may be: its name, whom it is for, and how long it is good."""

import re
from datetime import datetime
from typing import Any

from hms_mgt.domain.access import Role
from hms_mgt.domain.window import WindowError, parse_duration, parse_window
from hms_mgt.errors import Invalid, Problem

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,99}")
# A colon stands in the names of those whom an issuer vouches for, and the platform acts under names of its own.
_RULE = "must be 1 to 100 letters, digits, '-', '_', '.' or '@', beginning with a letter or digit"
_TAKEN = frozenset({"operator", "hms-mgt"})
_OF_ONE_TENANT = {Role.RELEASE_MANAGER: "a release_manager", Role.APPROVER: "an approver"}


def name_problems(name: Any) -> list[Problem]:
    """Check what a token is to be named; the name is the actor in the audit."""
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        return [Problem("/name", f"{name!r} {_RULE}")]
    return [Problem("/name", f"{name} is what the platform itself is named in the audit")] if name in _TAKEN else []


def scope_problems(role: Role, tenant: str | None, where: str = "/tenant") -> list[Problem]:
    """Check whom a role is given for: who changes or approves what a tenant runs is of that tenant alone."""
    if tenant is None and role in _OF_ONE_TENANT:
        return [Problem(where, f"{_OF_ONE_TENANT[role]} is of one tenant: name it")]
    return []


def expiry_problems(expires_at: datetime | None, now: datetime) -> list[Problem]:
    """Check until when a token is to be good."""
    return [Problem("/expires", "is over already")] if expires_at is not None and expires_at <= now else []


def parse_expiry(text: str, now: datetime) -> datetime:
    """Read when a token ends: a duration from now on, such as 90d, or an instant.

    Raises:
        Invalid: it is neither, or no longer ahead.
    """
    try:
        end = _instant(text, now)
    except WindowError as error:
        raise Invalid.of([Problem("/expires", error.problem.detail)]) from None
    problems = expiry_problems(end, now)
    if problems:
        raise Invalid.of(problems)
    return end


def _instant(text: str, now: datetime) -> datetime:
    if "T" not in text:
        return now + parse_duration(text)
    # A window's start may lie behind us, so it says what is wrong with the instant and nothing else.
    return parse_window({"start": text}, now).start
