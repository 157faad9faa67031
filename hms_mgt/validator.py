"""The patch validator: pure checks on a parsed document, before anything is stored or sent downstream.

It answers what the document alone can tell. Whether the tenant, the service and the quota exist is asked of
the store by the use case, with the same kind of `Problem`.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from hms_mgt.domain import ids, knobs
from hms_mgt.domain.patch import PatchSpec
from hms_mgt.domain.window import Window, WindowError, parse_window
from hms_mgt.errors import Invalid, Problem, pointer
from hms_svc import merge, selector

FIELDS = ("service", "version_selector", "changes", "tenant", "window", "priority", "reason")
_REQUIRED = ("service", "version_selector", "changes", "tenant")
_HIGHEST_PRIORITY = 1000
_LONGEST_REASON = 500


def validate(document: Any, now: datetime) -> PatchSpec:
    """Check a patch document against every rule and return it typed, changes expanded.

    Raises:
        Invalid: with one `Problem` for each rule that is broken, all of them at once.
    """
    if not isinstance(document, Mapping):
        raise Invalid.of([Problem("", "a patch is a mapping with service, version_selector, changes and tenant")])
    found = _shape(document)
    window = _window(document.get("window"), now, found)
    changes = _changes(document, found)
    if "version_selector" in document:
        _selector(document["version_selector"], found)
    if found or window is None:
        raise Invalid.of(found)
    return PatchSpec(
        service=document["service"],
        version_selector=document["version_selector"],
        changes=changes,
        tenant=document["tenant"],
        window=window,
        priority=document.get("priority", 0),
        reason=document.get("reason", ""),
    )


def ending(document: Any) -> str:
    """Check what came with a request to end a patch, `{"reason": ...}` or nothing, and return the reason.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    if document is None:
        return ""
    if not isinstance(document, Mapping):
        raise Invalid.of([Problem("", "want a mapping with a reason, or nothing at all")])
    found = [Problem(pointer(key), "unknown field; there is only reason") for key in document if key != "reason"]
    reason: str = document.get("reason", "")
    found += _reason(reason)
    if found:
        raise Invalid.of(found)
    return reason


def _shape(document: Mapping[str, Any]) -> list[Problem]:
    known = ", ".join(FIELDS)
    found = [Problem(pointer(key), f"unknown field; a patch has {known}") for key in document if key not in FIELDS]
    found += [Problem(f"/{key}", "is required") for key in _REQUIRED if key not in document]
    found += [Problem(f"/{k}", ids.RULE) for k in ("service", "tenant") if k in document and not ids.is_id(document[k])]
    found += _priority(document.get("priority", 0)) + _reason(document.get("reason", ""))
    return found


def _priority(value: Any) -> list[Problem]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and 0 <= value <= _HIGHEST_PRIORITY:
        return []
    return [Problem("/priority", f"must be a whole number from 0 to {_HIGHEST_PRIORITY}")]


def _reason(value: Any) -> list[Problem]:
    if isinstance(value, str) and len(value) <= _LONGEST_REASON and (not value or value.isprintable()):
        return []
    return [Problem("/reason", f"must be one line of text, at most {_LONGEST_REASON} characters")]


def _window(document: Any, now: datetime, found: list[Problem]) -> Window | None:
    try:
        return parse_window(document, now)
    except WindowError as error:
        found.append(error.problem)
        return None


def _selector(value: Any, found: list[Problem]) -> None:
    if not isinstance(value, str):
        found.append(Problem("/version_selector", "must be text such as '>=2.1.0'"))
        return
    try:
        selector.parse_selector(value)
    except ValueError as error:
        found.append(Problem("/version_selector", str(error)))


def _changes(document: Mapping[str, Any], found: list[Problem]) -> Mapping[str, Any]:
    changes = document.get("changes")
    if "changes" not in document:
        return {}
    if not isinstance(changes, Mapping) or not changes:
        found.append(Problem("/changes", "must be a mapping with at least one knob"))
        return {}
    try:
        expanded = merge.expand(dict(changes))
    except ValueError as error:
        found.append(Problem("/changes", str(error)))
        return {}
    found += knobs.problems(expanded)
    return expanded
