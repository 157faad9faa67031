"""The life of a patch: its states, and the one table that says which follows which."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from hms_mgt.domain.window import Window
from hms_mgt.errors import Conflict


class Status(StrEnum):
    """Where a patch is in its life."""

    QUEUED = "QUEUED"
    REJECTED = "REJECTED"
    APPROVED = "APPROVED"
    SCHEDULED = "SCHEDULED"
    ROLLING_OUT = "ROLLING_OUT"
    APPLIED = "APPLIED"
    HALTED = "HALTED"
    REVERTING = "REVERTING"
    EXPIRED = "EXPIRED"
    ROLLED_BACK = "ROLLED_BACK"
    CANCELLED = "CANCELLED"


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.REJECTED, Status.APPROVED, Status.CANCELLED}),
    Status.APPROVED: frozenset({Status.SCHEDULED, Status.ROLLING_OUT, Status.CANCELLED}),
    Status.SCHEDULED: frozenset({Status.ROLLING_OUT, Status.CANCELLED}),
    Status.ROLLING_OUT: frozenset({Status.APPLIED, Status.HALTED, Status.REVERTING}),
    Status.APPLIED: frozenset({Status.HALTED, Status.REVERTING}),
    Status.HALTED: frozenset({Status.REVERTING}),
    Status.REVERTING: frozenset({Status.EXPIRED, Status.ROLLED_BACK}),
    Status.REJECTED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.ROLLED_BACK: frozenset(),
    Status.CANCELLED: frozenset(),
}
TERMINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)
# The patches a stream carries: what the sidecars fold.
IN_STREAM = frozenset({Status.ROLLING_OUT, Status.APPLIED, Status.HALTED})
CANCELLABLE = frozenset(status for status, after in TRANSITIONS.items() if Status.CANCELLED in after)


class PatchSpec(NamedTuple):
    """What a release manager asks for, validated: the content that GOV signs."""

    service: str
    version_selector: str
    changes: Mapping[str, Any]
    tenant: str
    window: Window
    priority: int = 0
    reason: str = ""


class Patch(NamedTuple):
    """A stored patch with where it stands."""

    id: int
    spec: PatchSpec
    status: Status
    status_reason: str
    author: str
    author_role: str
    created_at: datetime
    updated_at: datetime
    attempts: int
    approval_order: int | None
    decision: Mapping[str, Any] | None
    decision_summary: Mapping[str, Any] | None
    rollout_started_at: datetime | None
    # While REVERTING: the terminal state it is heading for.
    ending: Status | None


def check_transition(current: Status, following: Status) -> None:
    """Raise `Conflict` unless the table allows `following` after `current`."""
    if following not in TRANSITIONS[current]:
        raise Conflict(f"a patch that is {current} cannot become {following}")


def stream_changes(current: Status, following: Status) -> bool:
    """Tell whether this step puts the patch into its stream or takes it out."""
    return (current in IN_STREAM) != (following in IN_STREAM)
