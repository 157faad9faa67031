"""What a patch's status means to someone who waits for it, and the exit codes scripts rely on.

Pure: a patch as the API shows it goes in, a verdict comes out. No clock either: whether a start lies in the
future is read from the server's own instants, so a runner with a wrong clock decides the same.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, IntEnum
from http import HTTPStatus
from typing import Any, NamedTuple

Patch = Mapping[str, Any]


class Code(IntEnum):
    """Exit codes. They are an interface: never renumber."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REJECTED = 3
    TIMEOUT = 4
    ROLLED_BACK = 5
    NOT_ALLOWED = 6
    INTERRUPTED = 130


class Goal(Enum):
    """What is waited for."""

    UNDERWAY = "in effect, or scheduled while its start lies in the future"
    IN_EFFECT = "in effect"
    GONE = "no longer in effect on any instance"


class Outcome(NamedTuple):
    """How a wait ended, in a code and in words."""

    code: Code
    words: str


ENDED = {
    "EXPIRED": "its window ended",
    "SUPERSEDED": "another patch took its place",
    "ROLLED_BACK": "it was rolled back",
    "CANCELLED": "it was cancelled",
}


def settled(patch: Patch, goal: Goal) -> Outcome | None:
    """How the wait for `goal` ended, or None while it goes on."""
    if patch["status"] == "REJECTED":
        return Outcome(Code.REJECTED, "it was rejected")
    return _gone(patch) if goal is Goal.GONE else _in_effect(patch, goal)


def _gone(patch: Patch) -> Outcome | None:
    words = ENDED.get(patch["status"])
    return None if words is None else Outcome(Code.OK, words)


def _in_effect(patch: Patch, goal: Goal) -> Outcome | None:
    status = patch["status"]
    if status == "APPLIED":
        return Outcome(Code.OK, "it is in effect")
    if status == "HALTED":
        return Outcome(Code.ROLLED_BACK, "it was halted")
    if status == "SCHEDULED" and goal is Goal.UNDERWAY and starts_later(patch):
        return Outcome(Code.OK, f"it is scheduled and starts at {patch['window']['start']}")
    if status not in ENDED:
        return None
    return Outcome(_ended_code(patch), ENDED[status])


def _ended_code(patch: Patch) -> Code:
    """An end that was foreseen is fine once the patch had been in effect, even if we did not see that."""
    if patch["status"] == "ROLLED_BACK":
        return Code.ROLLED_BACK
    foreseen = patch["status"] in {"EXPIRED", "SUPERSEDED"}
    applied = any(event.get("to") == "APPLIED" for event in patch.get("events", ()))
    return Code.OK if foreseen and applied else Code.FAILED


def starts_later(patch: Patch) -> bool:
    """Whether the start lay in the future when the server last moved the patch."""
    try:
        start = datetime.fromisoformat(patch["window"]["start"])
        return start > datetime.fromisoformat(patch["updated_at"])
    except (KeyError, TypeError, ValueError):
        return False


def http_code(status: int) -> Code:
    """The exit code of an HTTP error status."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Code.NOT_ALLOWED
    is_ours = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Code.REJECTED if is_ours else Code.FAILED
