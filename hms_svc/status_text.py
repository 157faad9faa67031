"""The agent's view in words, for people: `hms-svc status` as a few lines and a table, `run --once` as one line."""

import shutil
import time
from collections.abc import Mapping
from typing import Any

WIDEST = 160
NAMES = 11
DETAIL_LINES = 3


def page(view: Mapping[str, Any]) -> str:
    """Everything, as wide as the terminal."""
    width = min(shutil.get_terminal_size((100, 24)).columns, WIDEST)
    lines = [_title(view), *(f"{name:<{NAMES}}{words}" for name, words in _facts(view) if words)]
    return "\n".join([*lines, "", *_table(view["patches"], width)]) + "\n"


def span(seconds: float) -> str:
    """A span in two units at most: `2 d 3 h`, `5 min 10 s`."""
    left = int(abs(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def _title(view: Mapping[str, Any]) -> str:
    name = f"{view['instance']} of {view['tenant']}, {view['service']} {view['version']}"
    if view["running"]:
        return f"{name}: {verdict(view)}\n{'process':<{NAMES}}pid {view['pid']}, since {_minute(view['started'])}"
    age = view["journal_age_seconds"]
    journal = "and there is no journal" if age is None else f"this is its journal of {span(age)} ago"
    if view.get("stuck_pid") is not None:
        return f"{name}: NOT ANSWERING\n{'process':<{NAMES}}pid {view['stuck_pid']} holds the lock; {journal}"
    return f"{name}: NOT RUNNING\n{'process':<{NAMES}}none; {journal}"


def verdict(view: Mapping[str, Any]) -> str:
    """The one word for it."""
    return "STALE" if view["stale"] else str(view["phase"]).upper()


def _facts(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    stored = [("revision", f"{view['revision']} of {view['head']}" if view["head"] else "none yet")]
    if not view["base"]:
        stored.append(("base", "none yet: there is no conf.yml"))
    if view["running"]:
        stored += _live(view)
    kept = len(view["good"])
    return [*stored, ("last good", f"{kept} kept to fall back on" if kept else "none kept yet (after the bake)")]


def _live(view: Mapping[str, Any]) -> list[tuple[str, str]]:
    link = "up" if view["link_up"] else "DOWN"
    clock = view["clock"]
    jumps = f"set {clock['jumps']} x, last by {clock['last']:+} s" if clock.get("jumps") else ""
    skew = f"{clock['skew']:+.1f} s from the control plane's" if clock.get("skew") else ""
    return [
        ("phase", f"{view['phase']}{_took(view)}"),
        ("trouble", " ".join(view["trouble"].split())),
        ("link", f"{link}, {view['redis']}; last signed word {span(view['word_age_seconds'])} ago"),
        ("refused", ", ".join(f"{reason} {count}" for reason, count in sorted(view["refused"].items()))),
        ("drift", ", ".join(view["drift"])),
        ("clock", ", ".join(filter(None, (jumps, skew)))),
        ("journal", _written(view["journal_age_seconds"])),
        ("error", view["error"]),
    ]


def _written(age: float | None) -> str:
    return "not written yet" if age is None else f"written {span(age)} ago"


def _took(view: Mapping[str, Any]) -> str:
    return "" if view["last_apply_seconds"] is None else f"; the last apply took {view['last_apply_seconds']:.2f} s"


def _table(patches: list[dict[str, Any]], width: int) -> list[str]:
    if not patches:
        return ["no patches are held"]
    head = ("PATCH", "STATE", "FROM (UTC)", "UNTIL", "ENDS IN")
    rows = [(str(one["id"]), one["stage"], _minute(one["start"]), _until(one), _ends(one)) for one in patches]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [_row(head, widths, "KEYS", width)]
    for one, row in zip(patches, rows, strict=True):
        lines += [_row(row, widths, _keys(one), width), *_detail(one["detail"], width)]
    return lines


def _row(cells: tuple[str, ...], widths: list[int], keys: str, width: int) -> str:
    left = "  ".join(cell.ljust(size) for cell, size in zip(cells, widths, strict=True))
    room = max(width - len(left) - 2, 12)
    return f"{left}  {keys if len(keys) <= room else keys[: room - 2] + '..'}".rstrip()


def _detail(detail: str, width: int) -> list[str]:
    """The tool's own words, below the patch they are about."""
    import textwrap  # noqa: PLC0415 - only when something failed

    return textwrap.wrap(detail, width, initial_indent="    ", subsequent_indent="    ")[:DETAIL_LINES]


def _keys(one: Mapping[str, Any]) -> str:
    more = [f"+{one['more_keys']}"] if one["more_keys"] else []
    return ", ".join([*one["keys"], *more])


def _minute(stamp: str) -> str:
    """To the minute; the year only when it is another one."""
    return stamp[5 if stamp[:4] == str(time.gmtime().tm_year) else 0 : 16].replace("T", " ")


def _until(one: Mapping[str, Any]) -> str:
    return _minute(one["end"]) if one["end"] else "-"


def _ends(one: Mapping[str, Any]) -> str:
    left = one["ends_in_seconds"]
    if left is None:
        return "-"
    return span(left) if left > 0 else "ended"


def outcome(view: Mapping[str, Any], *, done: bool) -> str:
    """`run --once` in one line: what is in effect now, or why not; from the agent's view at its end."""
    failed = [one for one in view["patches"] if one["stage"].startswith("failed")]
    if done:
        return f"in effect: {_effect(view)}"
    if failed:
        told = "; ".join(f"patch {one['id']} {one['stage']}: {' '.join(one['detail'].split())}" for one in failed)
        return f"failed: {told}; in effect: {_effect(view)}"
    if view["trouble"]:
        return f"failed: {' '.join(view['trouble'].split())}"
    if not view["answered"]:
        return f"failed: nobody answered with the stream, neither {view['redis']} nor HMS_MGT_URL"
    if why := _why_not(view):
        return f"failed: {why}; in effect: {_effect(view)}"
    return f"not reported, for the link to {view['redis']} is down; in effect: {_effect(view)}"


def _why_not(view: Mapping[str, Any]) -> str:
    if refused := distrusted(view["refused"]):
        return f"what was heard was refused ({refused}): is HMS_TRUST this control plane's?"
    return "" if view["phase"] == "steady" else "the service did not show the new configuration in time"


def distrusted(refused: Mapping[str, int]) -> str:
    """The reasons for which messages were refused, but for those that only come late."""
    return ", ".join(sorted(set(refused) - {"expired", "replayed"}))


def _effect(view: Mapping[str, Any]) -> str:
    if not view["in_effect"]:
        return "unknown"
    patches = ", ".join(str(patch_id) for patch_id in view["active"])
    return f"revision {view['revision']}, {f'patches {patches}' if patches else 'the base without patches'}"
