"""What a sidecar reports, read with suspicion: the sender is authenticated by the stream's name only."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hms_mgt.domain import ids
from hms_svc.selector import Version

_MOST_BYTES = 65_536
_MOST_ITEMS = 1000
_LONGEST_WORDS = 2000
_LONGEST_PHASE = 32


class Stage(NamedTuple):
    """One receipt: the patch, the stage reached, when by the sidecar's clock, and its words."""

    patch_id: int
    stage: str
    at: datetime
    detail: str


class Report(NamedTuple):
    """The whole state of one instance as its sidecar tells it."""

    instance: str
    service: str
    version: str
    url: str | None
    revision: int
    active: tuple[int, ...]
    digest: str
    failed: tuple[Mapping[str, Any], ...]
    refused: Mapping[str, int]
    # One word for where its files are: applying, steady or failed. Empty from a sidecar that does not say.
    phase: str
    trouble: str
    drift: tuple[str, ...]
    stale: bool
    bye: bool
    at: datetime
    receipts: tuple[Stage, ...]


class UnreadableReport(ValueError):
    """A report that is not one."""


def parse(raw: bytes) -> Report:
    """Read one report.

    Raises:
        UnreadableReport: for anything that does not have the promised shape and sizes.
    """
    if len(raw) > _MOST_BYTES:
        raise UnreadableReport("too large")
    try:
        document = json.loads(raw)
        return _report(document)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise UnreadableReport(f"{type(error).__name__}: {error}") from error


def _report(document: Mapping[str, Any]) -> Report:
    if not ids.is_id(document["service"]):
        raise UnreadableReport("service is not an id")
    return Report(
        instance=_text(document["instance"], 253),
        service=document["service"],
        version=_version(document["version"]),
        url=_text(document["url"], 2000) if document.get("url") else None,
        revision=_whole(document["revision"]),
        active=tuple(_whole(one) for one in _few(document["active"])),
        digest=_text(document["digest"], 128),
        failed=tuple(_failure(one) for one in _few(document.get("failed", []))),
        refused={_text(name, 64): _whole(count) for name, count in dict(document.get("refused", {})).items()},
        phase=_words(document.get("phase", ""))[:_LONGEST_PHASE],
        trouble=_words(document.get("trouble", "")),
        drift=tuple(_words(path) for path in _few(document.get("drift", []))),
        stale=document.get("stale") is True,
        bye=document.get("bye") is True,
        at=_instant(document["at"]),
        receipts=tuple(_stage(one) for one in _few(document.get("receipts", []))),
    )


def _version(value: Any) -> str:
    text = _text(value, 128)
    Version.parse(text)
    return text


def _failure(one: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"patch_id": _whole(one["patch_id"]), "stage": _text(one["stage"], 32), "detail": _words(one["detail"])}


def _stage(one: Mapping[str, Any]) -> Stage:
    words = _words(one.get("detail", ""))
    return Stage(_whole(one["patch_id"]), _text(one["stage"], 32), _instant(one["at"]), words)


def _words(value: Any) -> str:
    """Make a tool's words storable: bounded, without NUL, without halves of characters."""
    return str(value)[:_LONGEST_WORDS].encode(errors="replace").decode().replace("\0", "")


def _few(items: Any) -> Sequence[Any]:
    if not isinstance(items, list) or len(items) > _MOST_ITEMS:
        raise UnreadableReport("not a list of a sensible length")
    return items


def _whole(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise UnreadableReport(f"{value!r} is not a count")
    return value


def _text(value: Any, longest: int) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest or not value.isprintable():
        raise UnreadableReport("a text is missing, too long or unprintable")
    return value


def _instant(value: Any) -> datetime:
    parsed = datetime.fromisoformat(_text(value, 40))
    if parsed.tzinfo is None:
        raise UnreadableReport("an instant has no timezone")
    return parsed.astimezone(UTC)
