"""What a patch's status means to someone who waits for it, and the exit codes scripts rely on.

Pure: a patch as the API shows it goes in, a verdict comes out. No clock either: whether a start lies in the
future is read from the server's own instants, so a runner with a wrong clock decides the same.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum, IntEnum
from http import HTTPStatus
from typing import Any, NamedTuple

from hms_cli import approvals

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


class Difference(IntEnum):
    """Exit codes of `hms diff`, which answers a question: as with diff(1), 1 is an answer and not a failure."""

    NONE = 0
    SOME = 1
    TROUBLE = 2
    REFUSED = 3


class Goal(Enum):
    """What is waited for."""

    UNDERWAY = "in effect, or scheduled while its start or the end of a freeze lies in the future"
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
    return Outcome(Code.OK, _ending(patch)) if patch["status"] in ENDED else None


def _in_effect(patch: Patch, goal: Goal) -> Outcome | None:
    status = patch["status"]
    if status == "APPLIED":
        return Outcome(Code.OK, "it is in effect")
    if status == "HALTED":
        return Outcome(Code.ROLLED_BACK, "it was halted")
    if status == "SCHEDULED" and goal is Goal.UNDERWAY:
        words = _later(patch)
        return None if words is None else Outcome(Code.OK, words)
    if status not in ENDED:
        return None
    return Outcome(_ended_code(patch), _ending(patch))


def _later(patch: Patch) -> str | None:
    """Say when a scheduled patch begins, if that lies ahead."""
    held, start = patch.get("held_until"), (patch.get("window") or {}).get("start")
    if _lies_ahead(patch, held):
        return f"it is scheduled, and a freeze holds it until {held}"
    return f"it is scheduled and starts at {start}" if _lies_ahead(patch, start) else None


def _ending(patch: Patch) -> str:
    """Say how it ended, and what took its place."""
    words, by = ENDED[patch["status"]], patch.get("superseded_by")
    if by is None:
        return words
    return f"patch/{by} took its place" if patch["status"] == "SUPERSEDED" else f"{words}: patch/{by} takes its place"


def _ended_code(patch: Patch) -> Code:
    """An end that was foreseen is fine once the patch had been in effect, even if we did not see that."""
    if patch["status"] == "ROLLED_BACK":
        return Code.ROLLED_BACK
    foreseen = patch["status"] in {"EXPIRED", "SUPERSEDED"}
    applied = any(event.get("to") == "APPLIED" for event in patch.get("events", ()))
    return Code.OK if foreseen and applied else Code.FAILED


def _lies_ahead(patch: Patch, instant: object) -> bool:
    """Whether an instant lay in the future when the server last moved the patch."""
    try:
        return datetime.fromisoformat(str(instant)) > datetime.fromisoformat(patch["updated_at"])
    except (KeyError, TypeError, ValueError):
        return False


def waits_for(patch: Patch) -> str:
    """What keeps the patch from going on: people, a freeze, instances; nothing where nothing does."""
    if patch.get("held_until"):
        return f"a freeze to end at {patch['held_until']}"
    return approvals.awaited(patch) or str((patch.get("progress") or {}).get("waiting_for") or "")


def http_code(status: int) -> Code:
    """The exit code of an HTTP error status."""
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return Code.NOT_ALLOWED
    is_ours = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return Code.REJECTED if is_ours else Code.FAILED
