"""What the instance tells the control plane: one kind of message, complete each time.

A report carries the whole state, so a lost one costs nothing; receipts (who reached which stage when) are
events and wait here, bounded, while Redis is away. Nothing in it is secret: values of the configuration are
never reported, only patch ids, key paths and the words of the check command.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from hms_svc.clock import PAUSE_SECONDS
from hms_svc.wire import rfc3339

PERIOD_SECONDS = 5.0
RETRY_SECONDS = 1.0
REFUSAL_SECONDS = 0.25
MOST_RECEIPTS = 500
MOST_RECEIPTS_AT_ONCE = 200
MOST_DRIFT = 50
DETAIL_CHARS = 500


class State(NamedTuple):
    """The part of a report that is read off the agent when the report is made."""

    revision: int
    active: tuple[int, ...]
    digest: str
    phase: str
    failed: Mapping[int, tuple[str, str]]
    trouble: str
    drift: tuple[str, ...]
    stale: bool
    clock: Mapping[str, Any] = {}  # jumps and skew, where there were any


class Reporter:
    """Collects what happens and words it. Instants are epoch seconds, except where `clock` says monotonic."""

    def __init__(self, who: Mapping[str, Any]) -> None:
        self._who = dict(who)
        self._receipts: list[dict[str, Any]] = []
        self._refused: dict[str, int] = {}
        self.told: dict[str, int] = {}  # how many receipts of each stage there were
        self._said: tuple[Any, ...] = ()
        self._due = 0.0
        self._not_before = 0.0

    def receipt(self, ids: Iterable[int], stage: str, at: float, detail: str = "") -> None:
        """Note that patches reached a stage; the oldest notes go when nobody has listened for long."""
        for patch_id in ids:
            note = {"patch_id": patch_id, "stage": stage, "at": rfc3339(at), "detail": detail[:DETAIL_CHARS]}
            self._receipts.append(note)
            self.told[stage] = self.told.get(stage, 0) + 1
        del self._receipts[:-MOST_RECEIPTS]

    def waiting(self) -> list[dict[str, Any]]:
        """The receipts that were not delivered yet, the newest last."""
        return list(self._receipts)

    def restore(self, receipts: Iterable[dict[str, Any]]) -> None:
        """Take up receipts of an earlier run that may not have been delivered; one too many does no harm."""
        self._receipts[:0] = receipts

    def refused(self, reason: str, clock: float) -> None:
        """Count a refusal (monotonic); a report tells of it soon."""
        self._refused[reason] = self._refused.get(reason, 0) + 1
        self._due = min(self._due, clock + REFUSAL_SECONDS)

    @property
    def counted(self) -> Mapping[str, int]:
        """How many messages were refused, by reason."""
        return self._refused

    @property
    def due_at(self) -> float:
        """When the next report is due even if nothing changes (monotonic)."""
        return max(self._due, self._not_before)

    def due(self, state: State, clock: float) -> bool:
        """Whether something changed since the last report, or the last one is five seconds old (monotonic).

        Refusals alone wait a little, so that a flood of bad messages does not become a flood of reports.
        """
        if clock < self._not_before:
            return False
        changed = bool(self._receipts) or _summary(state) != self._said
        return changed or clock >= self._due

    def word(self, state: State, at: float, *, bye: bool = False) -> str:
        """The report as JSON."""
        failed = [
            {"patch_id": patch_id, "stage": stage, "detail": detail[:DETAIL_CHARS]}
            for patch_id, (stage, detail) in state.failed.items()
        ]
        report = {
            "v": 1,
            **self._who,
            **state._asdict(),
            "failed": failed,
            "drift": state.drift[:MOST_DRIFT],
            "refused": self._refused,
            "receipts": self._receipts[:MOST_RECEIPTS_AT_ONCE],
            "at": rfc3339(at),
            "bye": bye,
        }
        return json.dumps(report, separators=(",", ":"))

    def delivered(self, state: State, clock: float) -> None:
        """The last report reached Redis: its receipts are told (monotonic)."""
        del self._receipts[:MOST_RECEIPTS_AT_ONCE]
        self._said = _summary(state)
        self._due = clock + PERIOD_SECONDS - PAUSE_SECONDS  # it rides on the next wake

    def hurry(self) -> None:
        """Somebody new is listening: do not wait with the next report."""
        self._due = self._not_before = 0.0

    def undelivered(self, clock: float) -> None:
        """The last report did not reach Redis: keep everything, and try again in a second (monotonic)."""
        self._not_before = self._due = clock + RETRY_SECONDS


def _summary(state: State) -> tuple[Any, ...]:
    """A copy that later changes of the agent do not reach."""
    return tuple(dict(part) if isinstance(part, dict) else part for part in state)
