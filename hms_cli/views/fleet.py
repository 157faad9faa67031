"""Instances as a table."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, table
from hms_cli.output import Document, Result


def fleet(found: Sequence[Document]) -> Result:
    """Instances."""
    names = [f"instance/{one.get('instance')}" for one in found]
    return Result({"items": found}, names, lambda width: table(_columns(found), width))


def _columns(found: Sequence[Document]) -> list[Column]:
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
        Column("CONDITION", [_condition(one) for one in found]),
        Column("REFUSED", [_refused(one.get("refused") or {}) for one in found], spare=1),
    ]


def _condition(one: Document) -> Text:
    """What needs somebody's eye, in a word or two: the words behind it are in the JSON."""
    said = [str(one["phase"])] if one.get("phase") not in ("steady", "", None) else []
    said += ["trouble"] if one.get("trouble") else []
    said += [f"drift={len(one['drift'])}"] if one.get("drift") else []
    return text.plain(" ".join(said), "yellow") if said else text.plain("ok")


def _refused(refused: Mapping[str, Any]) -> Text:
    if not refused:
        return text.plain("-")
    return text.plain(" ".join(f"{reason}={times}" for reason, times in refused.items()), "yellow")
