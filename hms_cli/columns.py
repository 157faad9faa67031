"""Columns that fit: what matters least is left out when the terminal is narrow, and one column gives way.

Cutting every column a little, as tables usually do, leaves a row in which nothing can be read. So a column
is either shown in full or not at all, except the one that may be cut. Pure.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.table import Table
from rich.text import Text

GAP = 2  # blanks between columns


class Column(NamedTuple):
    """A title and its cells. Of two columns the one with the higher `spare` goes first; 0 always stays."""

    title: str
    cells: Sequence[Text]
    spare: int = 0
    gives_way_to: int | None = None  # the width it may be cut to; None is never cut

    @property
    def width(self) -> int:
        """Characters it wants."""
        return max([len(self.title), *(cell.cell_len for cell in self.cells)])

    @property
    def least(self) -> int:
        """Characters it needs."""
        return self.width if self.gives_way_to is None else min(self.width, self.gives_way_to)


def fitting(columns: Sequence[Column], width: int) -> list[Column]:
    """The columns to show in `width` characters, in their order."""
    kept = list(columns)
    while _least(kept) > width and any(column.spare for column in kept):
        kept.remove(max(kept, key=lambda column: column.spare))
    return kept


def table(columns: Sequence[Column], width: int) -> Table:
    """The table of the columns that fit."""
    drawn = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold")
    kept = fitting(columns, width)
    for column in kept:
        wide = max(column.least, min(column.width, width - _least(kept) + column.least))
        drawn.add_column(column.title, no_wrap=True, overflow="ellipsis", width=wide)
    for row in zip(*(column.cells for column in kept), strict=True):
        drawn.add_row(*row)
    return drawn


def facts(rows: Iterable[tuple[str, Text]]) -> Table:
    """Names and what there is to say of each; a name that is empty goes on with the one above."""
    drawn = Table.grid(padding=(0, GAP, 0, 0))
    drawn.add_column(style="dim", min_width=10)
    drawn.add_column(overflow="fold")
    for name, value in rows:
        drawn.add_row(f"  {name}", value)
    return drawn


def _least(columns: Sequence[Column]) -> int:
    return sum(column.least + GAP for column in columns) - GAP
