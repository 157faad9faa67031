"""Saying a value in YAML, so that every reader, of 1.1 or of 1.2, takes it for that value.

Words stand plain where nobody can misread them, everything else in quotes; nothing is ever folded. Where in a
file it goes is for `yaml_edit` to say. Patterns are compiled when first needed: an agent at rest writes nothing.
"""

from __future__ import annotations

import re
from json import dumps
from math import isfinite
from typing import Any

from hms_svc.merge import same
from hms_svc.yaml_tree import YamlError, load

_INDENT = 2
# Words, or an amount such as 128Mi: nothing here can end a scalar or begin anything else, in braces or out.
_SAFE = r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*|[1-9][0-9]*[A-DF-Za-df-z][A-Za-z]*"
# What some YAML reader, 1.1 or 1.2, takes for something other than text.
_MISREAD = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
# A literal block whose lines we can restate: no digit, no `+`, and the column its text stands in.
_LITERAL = r"(\|(-?)(?:[ \t]+#[^\r\n]*)?)(\r?\n)(?:[ \t]*\r?\n)*( +)"


def dump(document: Any) -> str:
    """The document as plain YAML: a key a line, lists on one line.

    Raises:
        YamlError: it cannot be said within the strict profile.
    """
    text = pair_lines(document, 0, "\n") if isinstance(document, dict) and document else inline(document) + "\n"
    if not says(text, document):
        raise YamlError("no strict YAML says this: too large, too deep, not Unicode, or a key too long")
    return text


def says(text: str, wanted: Any) -> bool:
    """Whether that is what the text is read as."""
    try:
        return same(load(text), wanted)
    except YamlError:
        return False


def dump_scalar(value: Any, style: str = "") -> str:
    """A scalar as one line that every YAML reader takes for this value, in `style`'s quotes if any.

    Raises:
        YamlError: it is no scalar a configuration can carry.
    """
    if isinstance(value, str):
        return _text(value, style)
    if value is None or isinstance(value, bool):
        return dumps(value)
    if isinstance(value, int) or (isinstance(value, float) and isfinite(value)):
        return _number(value)
    raise YamlError(f"a configuration cannot carry {value!r}")


def _text(value: str, style: str = "") -> str:
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style != '"' and re.fullmatch(_SAFE, value) and value.lower() not in _MISREAD:
        return value
    return "".join(map(_visible, dumps(value, ensure_ascii=False)))


def _visible(letter: str) -> str:
    """The letter, escaped when it breaks lines to some reader, is forbidden in YAML, or shows nothing to people."""
    if letter.isprintable():
        return letter
    return f"\\u{ord(letter):04x}" if letter <= "\uffff" else f"\\U{ord(letter):08x}"


def _number(value: float) -> str:
    """Python's shortest form, with the dot without which YAML 1.1 takes `1e+16` for text."""
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def inline(value: Any, style: str = "") -> str:
    """The value on one line, a scalar in `style`'s quotes if any."""
    if isinstance(value, dict):
        return "{" + ", ".join(map(pair, value, value.values())) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(inline, value)) + "]"
    return dump_scalar(value, style)


def pair(key: str, value: Any) -> str:
    """A key and its value, on one line."""
    return f"{_text(key)}: {inline(value)}"


def pair_lines(pairs: dict[str, Any], column: int, newline: str) -> str:
    """Pairs as block lines at a column; mappings with something in them go on in lines of their own."""
    text = ""
    for key, value in pairs.items():
        if isinstance(value, dict) and value:
            text += " " * column + _text(key) + ":" + newline + pair_lines(value, column + _INDENT, newline)
        else:
            text += " " * column + pair(key, value) + newline
    return text


def item_lines(item: Any, column: int, newline: str) -> str:
    """An item of a block list, its dash at a column."""
    if isinstance(item, dict) and item:
        return " " * column + "- " + pair_lines(item, column + _INDENT, newline).lstrip(" ")
    return " " * column + "- " + inline(item) + newline


def literal(old: str, wanted: Any) -> str:
    """The text under the old block's header and in its column, or nothing where that could be misread."""
    block = re.match(_LITERAL, old)
    if not block or not isinstance(wanted, str):
        return ""
    header, chomp, newline, indent = block.groups()
    lines = wanted.split("\n")
    if not chomp and lines.pop():
        return ""
    if not lines or not lines[0] or not lines[-1] or lines[0][0] == " " or not all(map(_verbatim, lines)):
        return ""
    return header + "".join(newline + (line and indent + line) for line in lines)


def _verbatim(line: str) -> bool:
    return line.isprintable() and not line.endswith(" ")
