"""Small builders for the pure parts' tests: patches without signatures, and a clock that is moved by hand."""

import os
from typing import Any

from hms_svc.clock import Clock
from hms_svc.errand import Bell
from hms_svc.messages import Patch, StreamMessage
from hms_svc.wire import ADMIT_ALL


def patch(patch_id: int, changes: dict[str, Any] | None = None, **other: Any) -> Patch:
    """A patch as held: always in force unless said otherwise."""
    values: dict[str, Any] = {
        "id": patch_id,
        "tenant": "IACB",
        "service": "API",
        "selector": "*",
        "changes": changes or {},
        "start": 0.0,
        "end": None,
        "expires": None,
        "priority": 0,
        "order": patch_id,
        "admit_below": ADMIT_ALL,
        "envelope": {},
    }
    return Patch(**values | other)


def message(kind: Any, revision: int, *patches: Patch, **other: Any) -> StreamMessage:
    """A stream message as read."""
    values: dict[str, Any] = {
        "kind": kind,
        "tenant": "IACB",
        "service": "API",
        "revision": revision,
        "previous": revision - 1,
        "issued": 100.0,
        "patches": patches,
        "ended": (),
    }
    return StreamMessage(**values | other)


class Hands:
    """A clock moved by hand: `forward` moves both faces."""

    def __init__(self) -> None:
        self.at = 1000.0
        self.clock = Clock(lambda: self.at, lambda: self.at)

    def forward(self, seconds: float) -> None:
        self.at += seconds


class BriefBell(Bell):
    """An agent's bell lives as long as its process. This one is closed when nobody, no errand either, may ring it."""

    def __del__(self) -> None:
        os.close(self.reader)
        os.close(self.writer)
