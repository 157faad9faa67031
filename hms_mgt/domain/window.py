"""Time windows: half-open `[start, end)` in UTC. Parsing takes the present instant as a parameter."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from hms_mgt.errors import Problem, pointer

_DURATION = re.compile(r"(?=\d)(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
# RFC 3339, with the seconds left out at will. `fromisoformat` alone takes any letter between day and hour.
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?", re.ASCII)
_LONGEST = timedelta(days=3660)
# What the sidecars' clocks can hold, with room for the longest duration above it.
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
_FORMS = "an instant such as 2026-11-20T00:00Z, with Z or an offset"


class Window(NamedTuple):
    """When a patch holds. Without an end it stands until it is rolled back."""

    start: datetime
    end: datetime | None

    def over(self, now: datetime) -> bool:
        """Tell whether the window has ended by `now`."""
        return self.end is not None and self.end <= now

    def started(self, now: datetime) -> bool:
        """Tell whether the window has begun by `now`."""
        return self.start <= now

    def meets(self, other: "Window") -> bool:
        """Tell whether there is an instant at which both hold; windows that only touch do not meet."""
        return not self.over(other.start) and not other.over(self.start)


class WindowError(ValueError):
    """A window that cannot be; `problem` points into the patch document."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(detail)
        self.problem = Problem(where, detail)


def parse_window(document: Any, now: datetime) -> Window:
    """Read a patch's `window`: `{start, end}` or `{start, duration}`; `now` allowed; absent: from now on.

    Raises:
        WindowError: with a pointer to the field that is wrong.
    """
    if document is None:
        return Window(now, None)
    if not isinstance(document, Mapping):
        raise WindowError("/window", "must be a mapping with start and end, or start and duration")
    for key in document:
        if key not in {"start", "end", "duration"}:
            raise WindowError(pointer("window", key), "unknown field; a window has start, end, duration")
    start = parse_instant(document.get("start", "now"), "/window/start", now)
    window = Window(start, _end(document, start, now))
    _check_order(window, now)
    return window


def _end(document: Mapping[str, Any], start: datetime, now: datetime) -> datetime | None:
    end, duration = document.get("end"), document.get("duration")
    if end is not None and duration is not None:
        raise WindowError("/window/duration", "give end or duration, not both")
    if duration is not None:
        return start + parse_duration(duration)
    return None if end is None else parse_instant(end, "/window/end", now)


def _check_order(window: Window, now: datetime) -> None:
    if window.end is None:
        return
    if window.end <= window.start:
        raise WindowError("/window/end", "Bad time window: the end must come after the start")
    if window.over(now):
        raise WindowError("/window/end", f"Bad time window: it was already over at {rfc3339(window.end)}")


def parse_duration(text: Any) -> timedelta:
    """Read `14d`, `1h30m`, `90s`, `2w`.

    Raises:
        WindowError: for anything else, for nothing at all, and for more than ten years.
    """
    match = _DURATION.fullmatch(text) if isinstance(text, str) and len(text) <= 32 else None
    if match is None:
        raise WindowError("/window/duration", "must be a duration such as 14d, 12h, 1h30m or 90s")
    weeks, days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = seconds + 60 * minutes + 3600 * hours + 86400 * (days + 7 * weeks)
    if not 0 < total <= _LONGEST.total_seconds():
        raise WindowError("/window/duration", "must be longer than nothing and at most ten years")
    return timedelta(seconds=total)


def parse_instant(value: Any, where: str, now: datetime) -> datetime:
    """Read an RFC 3339 instant, or `now`. `where` is the pointer to it.

    Raises:
        WindowError: it is something else, has no timezone, or lies outside the years 1970 to 9000.
    """
    if value == "now":
        return now
    if not isinstance(value, str) or len(value) > 40:
        raise WindowError(where, f"must be {_FORMS}" + ("" if where.endswith("end") else ", or now"))
    parsed = _moment(value)
    if parsed is None:
        raise WindowError(where, f"{value!r} is not {_FORMS}")
    if parsed.tzinfo is None:
        raise WindowError(where, f"{value!r} has no timezone: write Z or an offset such as +01:00")
    try:
        instant = parsed.astimezone(UTC)
    except OverflowError:
        instant = None
    if instant is None or not _EARLIEST <= instant <= _LATEST:
        raise WindowError(where, f"{value!r} is outside the years 1970 to 9000")
    return instant


def _moment(text: str) -> datetime | None:
    """Read an instant that is written as one; the calendar may still not have it."""
    try:
        return datetime.fromisoformat(text) if _INSTANT.fullmatch(text) else None
    except ValueError:
        return None


def rfc3339(instant: datetime) -> str:
    """Write an instant as RFC 3339 in UTC, e.g. `2026-11-20T00:00:00Z`."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
