"""How a wait looks while it lasts, on standard error only.

A terminal gets one live line that disappears when the result is printed. Anything else, such as a CI log,
gets a line each time something changed and none in between.
"""

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from hms_cli import text
from hms_cli.outcome import Patch, waits_for

BAR_WIDTH = 20
UNREACHABLE = "no answer, asking again"


class Progress(Protocol):
    """Shows a patch as it is now; `None` says that no answer came."""

    def show(self, patch: Patch | None, elapsed: float) -> None:
        """`elapsed` in seconds since the wait began."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def progress(patch_id: int) -> Progress:
    """The live line if standard error is a terminal, else plain lines."""
    console = Console(stderr=True, highlight=False)
    return (
        LiveLine(patch_id, console)
        if console.is_terminal and not console.is_dumb_terminal
        else Lines(patch_id, console)
    )


class Lines:
    """A line whenever the words change."""

    def __init__(self, patch_id: int, console: Console) -> None:
        self._name, self._console, self._last = f"patch/{patch_id}", console, ""

    def show(self, patch: Patch | None, elapsed: float) -> None:
        """Print the words if they are new."""
        words = UNREACHABLE if patch is None else f"{patch['status']}{_more(patch)}"
        if words != self._last:
            self._last = words
            line = text.plain(f"{self._name} {words} ({elapsed:.1f} s)")
            self._console.print(line, soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to tidy up."""


class LiveLine:
    """One line that moves: spinner, status, bar, words, elapsed time."""

    def __init__(self, patch_id: int, console: Console) -> None:
        self._name = f"patch/{patch_id}"
        self._spinner = Spinner("dots", style=text.UNDERWAY)
        self._live = Live(console=console, transient=True, refresh_per_second=12)
        self._patch: Patch | None = None

    def show(self, patch: Patch | None, elapsed: float) -> None:
        """Draw the line; without an answer the last known state stays, and says so."""
        self._patch = patch or self._patch
        self._live.update(self._line(elapsed, lost=patch is None))

    def _line(self, elapsed: float, *, lost: bool) -> Table:
        line = Table.grid(padding=(0, 1, 0, 0), expand=True)
        for _fixed in range(5):
            line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        patch = self._patch or {}
        line.add_row(
            self._spinner,
            Text(self._name, "bold"),
            text.coloured(patch.get("status", "")),
            _bar(patch),
            Text(f"{elapsed:.0f} s", "dim"),
            Text(UNREACHABLE, "yellow") if lost else text.plain(_more(patch).removeprefix(" "), "dim"),
        )
        return line

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)


def _bar(patch: Patch) -> ProgressBar | Text:
    if not text.progress(patch):
        return Text()
    seen = patch.get("progress") or {}
    return ProgressBar(
        total=text.count(seen.get("targeted")),
        completed=text.count(seen.get("effective")),
        width=BAR_WIDTH,
        complete_style=text.UNDERWAY,
    )


def _more(patch: Patch) -> str:
    """` 2/3 effective, waiting for pod-3 to confirm`, or nothing."""
    waiting = waits_for(patch)
    parts = [text.mark(patch), text.progress(patch), f"waiting for {waiting}" if waiting else ""]
    told = ", ".join(part for part in parts if part)
    return f" {told}" if told else ""
