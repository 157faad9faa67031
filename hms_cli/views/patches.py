"""Patches as a table, a row, a story or a name."""

from collections.abc import Sequence

from rich.text import Text

from hms_cli import approvals, text
from hms_cli.columns import Column, table
from hms_cli.outcome import Patch
from hms_cli.output import Result
from hms_cli.views.detail import detail


def listing(found: Sequence[Patch]) -> Result:
    """Many patches."""
    return Result({"items": found}, [_name(patch) for patch in found], lambda width: table(_columns(found), width))


def row(found: Patch) -> Result:
    """One patch, in a row."""
    return Result(found, [_name(found)], lambda width: table(_columns([found]), width))


def story(found: Patch) -> Result:
    """One patch with all there is to say about it."""
    return Result(found, [_name(found)], lambda _width: detail(found))


def accepted(found: Patch) -> Result:
    """The answer to a submission: a name and a status."""
    words = Text(" ").join([text.plain(_name(found), "bold"), text.coloured(found.get("status"))])
    return Result(found, [_name(found)], lambda _width: words)


def _name(found: Patch) -> str:
    return f"patch/{found.get('patch_id')}"


def _columns(found: Sequence[Patch]) -> list[Column]:
    def told(name: str) -> list[Text]:
        return [text.plain(one.get(name)) for one in found]

    columns = [
        Column("PATCH", told("patch_id")),
        Column("STATUS", [text.coloured(one.get("status")) for one in found]),
        Column("MARK", [text.plain(text.mark(one), text.ALARM) for one in found]),
        Column("TENANT", told("tenant"), spare=1),
        Column("SERVICE", told("service")),
        Column("VERSIONS", told("version_selector"), spare=4),
        Column("CHANGES", [text.plain(text.changes(one)) for one in found], gives_way_to=14),
        Column("START", [text.edge(one, "start") for one in found], spare=6),
        Column("END", [text.edge(one, "end") for one in found], spare=2),
        Column("BY", told("author"), spare=5),
        Column("NOTE", [text.plain(_note(one)) for one in found], spare=3),
    ]
    return [column for column in columns if column.title not in {"MARK", "NOTE"} or any(column.cells)]


def _note(patch: Patch) -> str:
    """Who or what it waits for, and which patches it takes turns with."""
    awaited, held, by = approvals.awaited(patch), patch.get("held_until"), patch.get("superseded_by")
    notes = [
        f"needs {awaited}" if awaited else "",
        f"frozen until {text.instant(held)}" if held else "",
        f"replaces {text.listed(patch.get('supersedes'))}" if patch.get("supersedes") else "",
        f"replaced by {by}" if by is not None else "",
    ]
    return "; ".join(note for note in notes if note)
