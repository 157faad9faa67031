"""Small pieces of text for people: instants, ages, changes, statuses. Pure.

Whatever comes from the server ends here as a rich Text with control characters replaced: a reason or a
tool's error message may hold terminal escapes or rich markup, and neither may act.
"""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

COLOURS = {
    "APPLIED": "green",
    "LIVE": "green",
    "REJECTED": "red",
    "HALTED": "red",
    "GONE": "red",
    "STALE": "yellow",
    "AWAITING_APPROVAL": "yellow",
    "EXPIRED": "dim",
    "ROLLED_BACK": "dim",
    "SUPERSEDED": "dim",
    "CANCELLED": "dim",
}
UNDERWAY = "cyan"
ALARM = "bold red"
EFFECTIVE = {  # the statuses in which instances count, and what those that have the patch are called
    "ROLLING_OUT": "effective",
    "APPLIED": "effective",
    "HALTED": "effective",
    "REVERTING": "still effective",
}
MOST_NAMES = 5  # names told in one breath
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400


def plain(value: object, style: str = "") -> Text:
    """Any value as one harmless line."""
    return Text(_CONTROL.sub(" ", "" if value is None else str(value)), style)


def coloured(status: object) -> Text:
    """A status in its colour."""
    return plain(status, COLOURS.get(str(status), UNDERWAY))


def instant(value: object) -> str:
    """`2024-12-05 00:00Z`: to the minute, or to the second where it has one."""
    try:
        moment = datetime.fromisoformat(str(value)).astimezone(UTC)
    except ValueError:
        return str(value)
    return moment.strftime("%Y-%m-%d %H:%M:%SZ" if moment.second else "%Y-%m-%d %H:%MZ")


def moment(value: object) -> str:
    """`2024-12-05 14:54:37.120Z`, for the lines of a timeline."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    except ValueError:
        return str(value)


def ago(value: object, now: datetime) -> str:
    """`5s`, `3m`, `2h`, `4d` before `now`; nothing is ever shown as later than now."""
    try:
        seconds = max(0, int((now - datetime.fromisoformat(str(value))).total_seconds()))
    except (TypeError, ValueError):
        return str(value)
    for unit, size in (("d", _DAY), ("h", _HOUR), ("m", _MINUTE)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def window(patch: Mapping[str, Any]) -> str:
    """`2024-11-20 00:00Z to 2024-12-05 00:00Z`."""
    given = patch.get("window") or {}
    end = given.get("end")
    return f"{instant(given.get('start'))} to {'further notice' if end is None else instant(end)}"


def edge(patch: Mapping[str, Any], which: str) -> Text:
    """The `start` or `end` of the window, for a column."""
    value = (patch.get("window") or {}).get(which)
    return plain("none" if value is None else instant(value))


def mark(patch: Mapping[str, Any]) -> str:
    """`BREAK-GLASS` for what was submitted as an emergency, wherever it is shown."""
    return "BREAK-GLASS" if patch.get("break_glass") else ""


def changes(patch: Mapping[str, Any]) -> str:
    """`rate_limit_rps=200 log.level=debug`, dotted and on one line."""
    return " ".join(f"{key}={value}" for key, value in flat(patch.get("changes") or {}))


def flat(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Dotted keys with their values; an empty mapping is a value."""
    found: list[tuple[str, str]] = []
    for key, value in document.items():
        if isinstance(value, Mapping) and value:
            found += flat(value, f"{prefix}{key}.")
        else:
            found.append((f"{prefix}{key}", said(value)))
    return found


def said(value: object) -> str:
    """A value as JSON, text without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def listed(values: object, most: int = MOST_NAMES) -> str:
    """`a, b, c`, or `a, b, c, d, e and 7 more`."""
    every = [str(value) for value in values] if isinstance(values, Sequence) and not isinstance(values, str) else []
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def count(value: object) -> int:
    """A number of instances, told as a number or as their names."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return len(value)
    return value if isinstance(value, int) else 0


def names(seen: Mapping[str, Any], which: str) -> list[object]:
    """The instances of one kind, where the server names them."""
    value = seen.get(which)
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str) else []


def progress(patch: Mapping[str, Any]) -> str:
    """`2/3 effective, 1 failed, 1 overdue`, or nothing before the patch went out and after it ended."""
    seen, word = patch.get("progress") or {}, EFFECTIVE.get(str(patch.get("status")))
    targeted = count(seen.get("targeted"))
    if word is None or not targeted:
        return ""
    parts = [f"{count(seen.get('effective'))}/{targeted} {word}"]
    parts += [f"{count(seen.get(name))} {name}" for name in ("failed", "overdue") if count(seen.get(name))]
    return ", ".join(parts)
