"""Rows of the audit as a table."""

from collections.abc import Sequence

from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, table
from hms_cli.output import Document, Result


def entries(found: Sequence[Document]) -> Result:
    """What happened, in the order given."""
    names = [f"audit/{one.get('id')}" for one in found]
    return Result({"items": found}, names, lambda width: table(_columns(found), width))


def _columns(found: Sequence[Document]) -> list[Column]:
    def told(name: str) -> list[Text]:
        return [text.plain("-" if one.get(name) is None else one[name]) for one in found]

    return [
        Column("AT", [text.plain(text.moment(one.get("at"))) for one in found]),
        Column("WHO", told("actor")),
        Column("ROLE", told("role"), spare=3),
        Column("FROM", told("source"), spare=4),
        Column("TENANT", told("tenant"), spare=2),
        Column("ACTION", [text.plain(one.get("action"), _style(one)) for one in found]),
        Column("SUBJECT", told("subject")),
        Column("WHAT", [text.plain(_what(one)) for one in found], spare=1, gives_way_to=20),
    ]


def _style(one: Document) -> str:
    return "red" if one.get("action") == "denied" else ""


def _what(one: Document) -> str:
    """What became of the subject, else what there is to say beside."""
    before, after = one.get("before") or {}, one.get("after") or one.get("detail")
    if not isinstance(after, dict) or not isinstance(before, dict):
        return "" if after is None else text.said(after)
    status = f"{before['status']} -> {after['status']}" if {"status"} <= before.keys() & after.keys() else ""
    rest = {name: value for name, value in after.items() if not (status and name == "status") and value is not None}
    return " ".join(filter(None, [status, text.changes({"changes": rest})]))
