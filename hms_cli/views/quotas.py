"""A quota as a table: what is used, what the tenant may, what the platform allows."""

from collections.abc import Iterator

from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, table
from hms_cli.output import Document, Result

_RESOURCES = ("replicas", "cpu", "memory")
_Row = tuple[str, object, object, object]


def quota(found: Document) -> Result:
    """A tenant's quota."""
    rows = list(_rows(found))
    return Result(found, [f"quota/{found.get('tenant')}"], lambda width: table(_columns(rows), width))


def _rows(found: Document) -> Iterator[_Row]:
    used, platform = found.get("usage") or {}, found.get("platform") or {}
    for name in _RESOURCES:
        yield name, used.get(name), found.get(name), platform.get(name)
    mine, above = found.get("knobs") or {}, platform.get("knobs") or {}
    for name in sorted({*mine, *above}):
        yield name, None, mine.get(name), above.get(name)


def _columns(rows: list[_Row]) -> list[Column]:
    def cells(place: int) -> list[Text]:
        return [text.plain("-" if row[place] is None else row[place]) for row in rows]

    return [
        Column("RESOURCE", cells(0)),
        Column("USED", cells(1)),
        Column("QUOTA", cells(2)),
        Column("PLATFORM", cells(3)),
    ]
