"""Results on standard output, as table, JSON, YAML or names.

A terminal gets colours and columns fitted to its width; a pipe gets the same columns in full, without
colours or trailing blanks. Nothing but the result is ever written there.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import yaml
from rich.console import Console, RenderableType

from hms_cli import text

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


Document = Mapping[str, Any]
Shown = Callable[[Document], Result]


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
