"""The patch validator: pure checks on a parsed document, before anything is stored or sent downstream.

It answers what the document alone can tell. Whether the tenant, the service and the quota exist is asked of
the store by the use case, with the same kind of `Problem`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt.domain import ids, knobs
from hms_mgt.domain.patch import PatchSpec
from hms_mgt.domain.window import Window, WindowError, parse_window, rfc3339
from hms_mgt.errors import Invalid, Problem, pointer
from hms_svc import merge, selector

FIELDS = (
    "service",
    "version_selector",
    "changes",
    "tenant",
    "window",
    "priority",
    "reason",
    "supersedes",
    "break_glass",
)
_REQUIRED = ("service", "version_selector", "changes", "tenant")
_HIGHEST_PRIORITY = 1000
LONGEST_REASON = 500
MOST_SUPERSEDED = 20
BIGGEST_ID = 2**63 - 1


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
        supersedes=_ids(document.get("supersedes", [])),
        break_glass=document.get("break_glass", False),
    )


def ending(document: Any) -> str:
    """Check what came with a request to end a patch, `{"reason": ...}` or nothing, and return the reason.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    reason: str = _only({} if document is None else document, ("reason",), ()).get("reason", "")
    return reason


class Revision(NamedTuple):
    """A request for another window: the patch document's own `window`, and why."""

    window: Window
    reason: str


def revision(document: Any, now: datetime, start: datetime) -> Revision:
    """Check a request to give a patch another window: `{"window": {...}, "reason": ...}`.

    A window that names no start begins at `start`.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    fields = _only(document, ("window", "reason"), ("window",))
    asked, found = fields["window"], list[Problem]()
    window = _window({"start": rfc3339(start), **asked} if isinstance(asked, Mapping) else asked, now, found)
    if window is None:
        raise Invalid.of(found)
    return Revision(window, fields.get("reason", ""))


class Return(NamedTuple):
    """A request to take a stream back to what it held at an earlier revision, and why."""

    revision: int
    reason: str


def going_back(document: Any) -> Return:
    """Check a request to take a stream back: `{"revision": 12, "reason": ...}`.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    fields = _only(document, ("revision", "reason"), ("revision",))
    if not _is_id(fields["revision"]):
        raise Invalid.of([Problem("/revision", "must be the number of a revision, from 1")])
    return Return(fields["revision"], fields.get("reason", ""))


def _only(document: Any, known: Sequence[str], required: Sequence[str]) -> Mapping[str, Any]:
    """Hold a small request to its fields; `reason` is checked where it stands."""
    words = " and ".join(known)
    if not isinstance(document, Mapping):
        raise Invalid.of([Problem("", f"want a mapping with {words}")])
    found = [Problem(pointer(key), f"unknown field; there is only {words}") for key in document if key not in known]
    found += [Problem(f"/{key}", "is required") for key in required if key not in document]
    found += _reason(document.get("reason", ""))
    if found:
        raise Invalid.of(found)
    return document


def _shape(document: Mapping[str, Any]) -> list[Problem]:
    known = ", ".join(FIELDS)
    found = [Problem(pointer(key), f"unknown field; a patch has {known}") for key in document if key not in FIELDS]
    found += [Problem(f"/{key}", "is required") for key in _REQUIRED if key not in document]
    found += [Problem(f"/{k}", ids.RULE) for k in ("service", "tenant") if k in document and not ids.is_id(document[k])]
    found += _priority(document.get("priority", 0)) + _reason(document.get("reason", ""))
    found += _supersedes(document.get("supersedes", []))
    if not isinstance(document.get("break_glass", False), bool):
        found.append(Problem("/break_glass", "must be true or false"))
    return found


def _supersedes(value: Any) -> list[Problem]:
    listed = value if isinstance(value, list) else [value]
    whole = all(map(_is_id, listed))
    if whole and len(listed) <= MOST_SUPERSEDED and len(set(listed)) == len(listed):
        return []
    return [Problem("/supersedes", f"must be the id of a patch, or a list of at most {MOST_SUPERSEDED}, each once")]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= BIGGEST_ID


def _ids(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else tuple(value)


def _priority(value: Any) -> list[Problem]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and 0 <= value <= _HIGHEST_PRIORITY:
        return []
    return [Problem("/priority", f"must be a whole number from 0 to {_HIGHEST_PRIORITY}")]


def _reason(value: Any) -> list[Problem]:
    if isinstance(value, str) and len(value) <= LONGEST_REASON and (not value or value.isprintable()):
        return []
    return [Problem("/reason", f"must be one line of text, at most {LONGEST_REASON} characters")]


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
