"""Freezes as a table."""

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, table
from hms_cli.output import Document, Result

_STYLES = {"on": "yellow", "over": "dim", "lifted": "dim"}


def listing(found: Sequence[Document]) -> Result:
    """Many freezes."""
    return Result({"items": found}, [_name(one) for one in found], lambda width: table(_columns(found), width))


def row(found: Document) -> Result:
    """One freeze, in a row."""
    return Result(found, [_name(found)], lambda width: table(_columns([found]), width))


def state(freeze: Document, now: datetime) -> str:
    """Whether it holds anything: `to come`, `on`, `over` or `lifted`."""
    if freeze.get("lifted_at"):
        return "lifted"
    try:
        start, end = (datetime.fromisoformat(str(freeze.get(name))).astimezone(UTC) for name in ("start", "end"))
    except ValueError:
        return "?"
    return "to come" if now < start else "on" if now < end else "over"


def _name(found: Document) -> str:
    return f"freeze/{found.get('freeze_id')}"


def _columns(found: Sequence[Document]) -> list[Column]:
    def told(name: str) -> list[Text]:
        return [text.plain(one.get(name)) for one in found]

    states = [state(one, datetime.now(UTC)) for one in found]
    return [
        Column("FREEZE", told("freeze_id")),
        Column("STATE", [text.plain(one, _STYLES.get(one, "")) for one in states]),
        Column("TENANT", [text.plain(one.get("tenant") or "every tenant") for one in found]),
        Column("START", [text.plain(text.instant(one.get("start"))) for one in found], spare=1),
        Column("END", [text.plain(text.instant(one.get("end"))) for one in found]),
        Column("EXCEPT", [text.plain(",".join(one.get("except_roles") or ()) or "-") for one in found], spare=3),
        Column("BY", told("created_by"), spare=2),
        Column("REASON", told("reason"), gives_way_to=12),
    ]
