"""The agent's account of itself, as one JSON object: what `status`, /readyz and /metrics show.

Made only when somebody asks. No value of the configuration is in it, only key paths, and no address with a password.
An agent that does not run has left the same in its journal, as far as it knew it.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from hms_svc.attempt import Attempt
from hms_svc.desired import Desired
from hms_svc.journal import Journal
from hms_svc.layers import is_open
from hms_svc.merge import dotted, leaves
from hms_svc.messages import Patch
from hms_svc.report import State
from hms_svc.settings import Settings
from hms_svc.wire import rfc3339

MOST_KEYS = 20


class Running(NamedTuple):
    """What only a running agent knows. Spans are in seconds."""

    up_for: float
    failing_for: float
    error: str
    link_up: bool
    reconnects: int
    word_age: float
    answered: bool
    in_effect: bool
    last_apply: float | None
    attempts: Mapping[str, int]
    receipts: Mapping[str, int]
    refused: Mapping[str, int]


def of_running(  # noqa: PLR0913, PLR0917 - the one place where these meet
    settings: Settings, desired: Desired, journal: Journal, state: State, running: Running, wall: float
) -> dict[str, Any]:
    """The view of an agent that runs, but for its patches."""
    return {
        **_held(settings, desired, journal, wall),
        "running": True,
        "pid": os.getpid(),
        "started": rfc3339(wall - running.up_for),
        "failing_seconds": round(running.failing_for, 1),
        "error": running.error,
        "link_up": running.link_up,
        "reconnects": running.reconnects,
        "stale": state.stale,
        "word_age_seconds": round(running.word_age, 1),
        "phase": state.phase,
        "trouble": state.trouble,
        "answered": running.answered,
        "in_effect": running.in_effect,
        "active": sorted(state.active),
        "failed": sorted(state.failed),
        "digest": state.digest,
        "last_apply_seconds": running.last_apply,
        "attempts": dict(running.attempts),
        "receipts": dict(running.receipts),
        "refused": dict(running.refused),
        "clock": dict(state.clock),
        "drift": list(state.drift),
    }


def of_journal(settings: Settings, desired: Desired, journal: Journal, wall: float) -> dict[str, Any]:
    """The view of an agent that does not run: what it had written down."""
    whole = _held(settings, desired, journal, wall)
    return whole | {"running": False, **each(desired, journal, wall)}


def _held(settings: Settings, desired: Desired, journal: Journal, wall: float) -> dict[str, Any]:
    """Whose agent it is, and what it holds and keeps."""
    return {
        "format": 1,
        "instance": settings.instance,
        "tenant": settings.tenant,
        "service": settings.service,
        "version": settings.version,
        "redis": settings.redis.shown,
        "at": rfc3339(wall),
        "revision": desired.revision,
        "head": desired.head,
        "held": len(desired.patches),
        "base": journal.base is not None,
        "active": sorted(journal.active),
        "failed": sorted(journal.blocked),
    }


def each(desired: Desired, journal: Journal, wall: float) -> dict[str, Any]:
    """Each patch that is held, with its window, its keys, and how far it came; and what is kept to fall back on."""
    held = (desired.patches[patch_id] for patch_id in sorted(desired.patches))
    return {
        "good": [sorted(good.ids) for good in journal.good],
        "patches": [_patch(patch, desired, journal, wall) for patch in held],
    }


def _patch(patch: Patch, desired: Desired, journal: Journal, wall: float) -> dict[str, Any]:
    stage, detail = _stage(patch, desired, journal, wall)
    end = min((edge for edge in (patch.end, patch.expires) if edge is not None), default=None)
    keys = sorted(dotted(path) for path in leaves(patch.changes) if path)
    return {
        "id": patch.id,
        "stage": stage,
        "detail": detail,
        "start": rfc3339(patch.start),
        "end": rfc3339(end) if end is not None else None,
        "ends_in_seconds": round(end - wall, 1) if end is not None else None,
        "selector": patch.selector,
        "priority": patch.priority,
        "keys": keys[:MOST_KEYS],
        "more_keys": max(0, len(keys) - MOST_KEYS),
    }


def _stage(patch: Patch, desired: Desired, journal: Journal, wall: float) -> tuple[str, str]:
    """Where the patch stands, in words of the receipts where there are some."""
    if patch.id in journal.blocked:
        stage, detail = journal.blocked[patch.id]
        return f"failed at {stage}", detail
    if not desired.mine(patch):
        return "not for this one", ""
    if wall < patch.start:
        return "waiting", ""
    if not is_open(patch, wall) or patch.id in desired.latches.over:
        return ("still in effect" if patch.id in journal.active else "ended"), ""
    if patch.id in journal.active:
        return "effective", ""
    return _tried(patch, journal.attempt)


def _tried(patch: Patch, attempt: Attempt | None) -> tuple[str, str]:
    """How far the last attempt with it came."""
    if attempt is None or patch.id not in attempt.ids:
        return "verified", ""
    if attempt.failed is not None:
        return f"held up at {attempt.failed[0]}", attempt.failed[1]
    return (attempt.stage.lower() if attempt.open else "verified"), ""
