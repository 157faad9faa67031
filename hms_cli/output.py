"""Results on standard output, as table, JSON, YAML or names.

A terminal gets colours and columns fitted to its width; a pipe gets the same columns in full, without
colours or trailing blanks. Nothing but the result is ever written there.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

import yaml
from rich.console import Console, RenderableType
from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, table
from hms_cli.detail import detail

_PIPE_WIDTH = 100_000  # columns; a pipe has none to run out of
_C1 = re.compile(r"[\x7f-\x9f]")


class Format(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class Result(NamedTuple):
    """A document of the API, its names, and how it looks in so many columns."""

    document: Any
    names: Sequence[str]
    drawn: Callable[[int], RenderableType]


Shown = Callable[[Mapping[str, Any]], Result]


def patches(found: Sequence[Mapping[str, Any]]) -> Result:
    """A listing."""
    return Result(
        {"items": found}, [_name(patch) for patch in found], lambda width: table(_patch_columns(found), width)
    )


def patch(found: Mapping[str, Any]) -> Result:
    """One patch, in a row."""
    return Result(found, [_name(found)], lambda width: table(_patch_columns([found]), width))


def story(found: Mapping[str, Any]) -> Result:
    """One patch with all there is to say about it."""
    return Result(found, [_name(found)], lambda _width: detail(found))


def accepted(found: Mapping[str, Any]) -> Result:
    """The answer to a submission: a name and a status."""
    words = Text(" ").join([text.plain(_name(found), "bold"), text.coloured(found.get("status"))])
    return Result(found, [_name(found)], lambda _width: words)


def fleet(found: Sequence[Mapping[str, Any]]) -> Result:
    """Instances."""
    names = [f"instance/{one.get('instance')}" for one in found]
    return Result({"items": found}, names, lambda width: table(_fleet_columns(found), width))


def write(result: Result, form: Format) -> None:
    """Put the result on standard output."""
    if form is Format.TABLE:
        _draw(result)
    else:
        sys.stdout.write(_written(result, form))
    sys.stdout.flush()


def _written(result: Result, form: Format) -> str:
    if form is Format.NAME:
        return "".join(f"{text.plain(name)}\n" for name in result.names)
    if form is Format.YAML:
        return str(yaml.dump(result.document, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True))
    said = json.dumps(result.document, indent=2, ensure_ascii=False)
    return _C1.sub(lambda found: f"\\u{ord(found[0]):04x}", said) + "\n"


def _draw(result: Result) -> None:
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(result.drawn(console.width))
        return
    wide = Console(highlight=False, width=_PIPE_WIDTH, no_color=True)
    with wide.capture() as captured:
        wide.print(result.drawn(_PIPE_WIDTH))
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def _name(found: Mapping[str, Any]) -> str:
    return f"patch/{found.get('patch_id')}"


def _patch_columns(found: Sequence[Mapping[str, Any]]) -> list[Column]:
    def told(name: str) -> list[Text]:
        return [text.plain(one.get(name)) for one in found]

    ends = [text.edge(one, "start") for one in found], [text.edge(one, "end") for one in found]
    return [
        Column("PATCH", told("patch_id")),
        Column("STATUS", [text.coloured(one.get("status")) for one in found]),
        Column("TENANT", told("tenant"), spare=1),
        Column("SERVICE", told("service")),
        Column("VERSIONS", told("version_selector"), spare=3),
        Column("CHANGES", [text.plain(text.changes(one)) for one in found], gives_way_to=14),
        Column("START", ends[0], spare=5),
        Column("END", ends[1], spare=2),
        Column("BY", told("author"), spare=4),
    ]


def _fleet_columns(found: Sequence[Mapping[str, Any]]) -> list[Column]:
    def told(name: str) -> list[Text]:
        return [text.plain(one.get(name)) for one in found]

    now = datetime.now(UTC)
    return [
        Column("INSTANCE", told("instance"), gives_way_to=12),
        Column("STATUS", [text.coloured(one.get("status")) for one in found]),
        Column("TENANT", told("tenant"), spare=3),
        Column("SERVICE", told("service"), spare=2),
        Column("VERSION", told("version")),
        Column("REV", told("revision"), spare=4),
        Column("PATCHES", [text.plain(",".join(map(str, one.get("active") or "-"))) for one in found]),
        Column("SEEN", [text.plain(text.ago(one.get("last_seen"), now)) for one in found]),
        Column("REFUSED", [_refused(one.get("refused") or {}) for one in found], spare=1),
    ]


def _refused(refused: Mapping[str, Any]) -> Text:
    if not refused:
        return text.plain("-")
    return text.plain(" ".join(f"{reason}={times}" for reason, times in refused.items()), "yellow")
