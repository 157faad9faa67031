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
    AWAITING_APPROVAL = "AWAITING_APPROVAL"
    APPROVED = "APPROVED"
    SCHEDULED = "SCHEDULED"
    ROLLING_OUT = "ROLLING_OUT"
    APPLIED = "APPLIED"
    HALTED = "HALTED"
    REVERTING = "REVERTING"
    EXPIRED = "EXPIRED"
    ROLLED_BACK = "ROLLED_BACK"
    SUPERSEDED = "SUPERSEDED"
    CANCELLED = "CANCELLED"


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.REJECTED, Status.AWAITING_APPROVAL, Status.APPROVED, Status.CANCELLED}),
    Status.AWAITING_APPROVAL: frozenset({Status.REJECTED, Status.APPROVED, Status.CANCELLED}),
    Status.APPROVED: frozenset({Status.SCHEDULED, Status.ROLLING_OUT, Status.CANCELLED}),
    Status.SCHEDULED: frozenset({Status.ROLLING_OUT, Status.CANCELLED}),
    Status.ROLLING_OUT: frozenset({Status.APPLIED, Status.HALTED, Status.REVERTING}),
    Status.APPLIED: frozenset({Status.HALTED, Status.REVERTING}),
    Status.HALTED: frozenset({Status.REVERTING}),
    Status.REVERTING: frozenset({Status.EXPIRED, Status.ROLLED_BACK, Status.SUPERSEDED}),
    Status.REJECTED: frozenset(),
    Status.EXPIRED: frozenset(),
    Status.ROLLED_BACK: frozenset(),
    Status.SUPERSEDED: frozenset(),
    Status.CANCELLED: frozenset(),
}
TERMINAL = frozenset(status for status, after in TRANSITIONS.items() if not after)
# The patches a stream carries: what the sidecars fold.
IN_STREAM = frozenset({Status.ROLLING_OUT, Status.APPLIED, Status.HALTED})
# Those of them that stay; what halted goes back by itself.
GOING_ON = IN_STREAM - {Status.HALTED}
CANCELLABLE = frozenset(status for status, after in TRANSITIONS.items() if Status.CANCELLED in after)
# Nobody has approved these yet: whoever replaces one of them takes it back at once.
PENDING = frozenset({Status.QUEUED, Status.AWAITING_APPROVAL})
# Approved, and not yet in force.
PLANNED = frozenset({Status.APPROVED, Status.SCHEDULED})
# What a new patch has to get along with: in force, or on its way there.
STANDING = IN_STREAM | PENDING | PLANNED


class PatchSpec(NamedTuple):
    """What a release manager asks for, validated: the content that GOV signs."""

    service: str
    version_selector: str
    changes: Mapping[str, Any]
    tenant: str
    window: Window
    priority: int = 0
    reason: str = ""
    # Ids of the patches that end once this one is in effect.
    supersedes: tuple[int, ...] = ()
    # For an emergency: no freeze holds it, and the policy asks for more people and a short window.
    break_glass: bool = False


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
    # What GOV asks for besides its own word, as it said it.
    obligations: tuple[Any, ...] = ()
    # Why no freeze holds it; None where one does.
    freeze_exemption: str | None = None
    # While a freeze holds it: when that ends.
    held_until: datetime | None = None
    superseded_by: int | None = None


def check_transition(current: Status, following: Status) -> None:
    """Raise `Conflict` unless the table allows `following` after `current`."""
    if following not in TRANSITIONS[current]:
        raise Conflict(f"a patch that is {current} cannot become {following}")


def stream_changes(current: Status, following: Status) -> bool:
    """Tell whether this step puts the patch into its stream or takes it out."""
    return (current in IN_STREAM) != (following in IN_STREAM)
