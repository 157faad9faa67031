"""Changing a YAML file without rewriting it: cuts at the marks of the nodes that differ, and nowhere else.

A `conf.yml` belongs to people. An edit replaces a scalar where it stands, removes a key with its lines, adds
a key after the last of its siblings, and leaves every other byte: comments, order, layout, line ends. Lists,
and mappings in braces whose keys come or go, are written anew on one line. The result is read back and
compared; should the cuts not say what was wanted, the document is written out plainly instead: complete, its
comments lost.

The agent always edits from the base text, so with no patch in force the file is the base, byte for byte.
"""

from __future__ import annotations

import re
from json import dumps
from math import isfinite
from typing import Any

from hms_svc.merge import same
from hms_svc.yaml_tree import (
    BYTE_ORDER_MARK,
    Mapping,
    Node,
    Scalar,
    Sequence,
    YamlError,
    load,
    parse,
    plain,
)

_INDENT = 2
_BLANK = " \t\r\n"
_LINE_END = re.compile(r"\r\n|[\r\n]")
# Words, or an amount such as 128Mi: nothing here can end a scalar or begin anything else, in braces or out.
_SAFE = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@+-]*(?: [A-Za-z0-9_./@+-]+)*|[1-9][0-9]*[A-DF-Za-df-z][A-Za-z]*")
# What some YAML reader, 1.1 or 1.2, takes for something other than text.
_MISREAD = re.compile(r"y|n|yes|no|on|off|true|false|null", re.IGNORECASE)
# A literal block whose lines we can restate: no digit, no `+`, and the column its text stands in.
_LITERAL = re.compile(r"(\|(-?)(?:[ \t]+#[^\r\n]*)?)(\r?\n)(?:[ \t]*\r?\n)*( +)")


def edit(text: str, wanted: dict[str, Any]) -> str:
    """The text with as few bytes changed as it takes to say `wanted`.

    Raises:
        YamlError: the text is outside the strict profile, or `wanted` cannot be said within it.
    """
    root = parse(text)
    if same(plain(root), wanted):
        return text
    mark = BYTE_ORDER_MARK if text.startswith(BYTE_ORDER_MARK) else ""
    edited = mark + _Cuts(text.removeprefix(mark)).result(root, wanted)
    return edited if _says(edited, wanted) else dump(wanted)


def dump(document: dict[str, Any]) -> str:
    """The document as plain YAML: a key a line, lists on one line.

    Raises:
        YamlError: it cannot be said within the strict profile.
    """
    text = _lines(document, 0, "\n") or "{}\n"
    if not _says(text, document):
        raise YamlError("no strict YAML says this: too large, too deep, not Unicode, or a key too long")
    return text


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


def _text(value: str, style: str) -> str:
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    if style != '"' and _SAFE.fullmatch(value) and not _MISREAD.fullmatch(value):
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


def _inline(value: Any, style: str = "") -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key, '')}: {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_inline(item) for item in value) + "]"
    return dump_scalar(value, style)


def _lines(pairs: dict[str, Any], column: int, newline: str) -> str:
    """Pairs as block lines at a column; mappings with something in them go on in lines of their own."""
    text = ""
    for key, value in pairs.items():
        text += " " * column + _text(key, "") + ":"
        if isinstance(value, dict) and value:
            text += newline + _lines(value, column + _INDENT, newline)
        else:
            text += " " + _inline(value) + newline
    return text


def _says(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return same(load(text), wanted)
    except YamlError:
        return False


class _Cuts:
    """The cuts that turn one text into another; a wrong one is caught when the result is read."""

    def __init__(self, text: str) -> None:
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._borrowed = self._newline if text and text[-1] not in "\r\n" else ""
        self._text = text + self._borrowed
        self._cuts: list[tuple[int, int, str]] = []

    def result(self, root: Node, wanted: dict[str, Any]) -> str:
        """The text after all cuts, ending as it ended before."""
        if isinstance(root, Mapping) and (not root.flow or _keeps_form(root, wanted)):
            self._block(root, wanted)
        else:
            self._cut(root.start, self._tail(root), _inline(wanted))
        return self._applied().removesuffix(self._borrowed)

    def _applied(self) -> str:
        parts: list[str] = []
        at = 0
        for start, end, text in sorted(self._cuts, key=lambda cut: cut[:2]):
            parts += self._text[at:start], text
            at = end
        return "".join(parts) + self._text[at:]

    def _cut(self, start: int, end: int, text: str) -> None:
        self._cuts.append((start, end, text))

    def _block(self, node: Mapping, wanted: dict[str, Any]) -> None:
        for key, value in node.pairs:
            if key.value in wanted:
                self._value(key, value, wanted[key.value])
            else:
                self._cut(self._line_start(key.start), self._next_line(_last_leaf(value).end), "")
        present = {key.value for key, _ in node.pairs}
        self._add(node, {key: value for key, value in wanted.items() if key not in present})

    def _add(self, node: Mapping, pairs: dict[str, Any]) -> None:
        """Put new keys below the last sibling, in its column; in an empty document, at its end."""
        column = node.pairs[0][0].column if node.pairs else 0
        at = self._next_line(self._tail(node)) if node.pairs else len(self._text)
        self._cut(at, at, _lines(pairs, column, self._newline))

    def _value(self, key: Scalar, node: Node, wanted: Any) -> None:
        if same(plain(node), wanted):
            return
        if isinstance(node, Mapping) and isinstance(wanted, dict) and _keeps_form(node, wanted):
            self._block(node, wanted)
        elif node.start == node.end:
            self._cut(node.start, node.end, " " + _inline(wanted))
        elif isinstance(node, Scalar) or node.flow:
            end = self._last_letter(node.start, node.end)
            self._cut(node.start, end, self._restated(node, self._text[node.start : end], wanted))
        else:
            self._inline_after(key, node, wanted)

    def _restated(self, node: Node, old: str, wanted: Any) -> str:
        """The new value in the old one's style, so far as that can say it."""
        if isinstance(node, Scalar) and node.style == "|" and not self._borrowed:
            return _literal(old, wanted) or _inline(wanted)
        return _inline(wanted, node.style if isinstance(node, Scalar) else "")

    def _inline_after(self, key: Scalar, node: Mapping | Sequence, wanted: Any) -> None:
        """Put the value of a block on its key's line, before a comment that may stand there."""
        gap = self._text[key.end : node.start]
        colon = gap.find(":") + 1
        end = self._last_letter(node.start, self._tail(node))
        self._cut(key.end + colon, end, f" {_inline(wanted)}{gap[colon:].rstrip(_BLANK)}")

    def _tail(self, node: Node) -> int:
        """Where the node's own text ends: a block's mark lies beyond the blanks and comments after it."""
        leaf = _last_leaf(node)
        return leaf.end if self._keeps_blank_lines(leaf) else self._last_letter(leaf.start, leaf.end)

    def _last_letter(self, start: int, end: int) -> int:
        return start + len(self._text[start:end].rstrip(_BLANK))

    def _keeps_blank_lines(self, node: Node) -> bool:
        """Whether it is a block scalar with a header such as `|+`, under which blank lines are its own."""
        header = _LINE_END.split(self._text[node.start : node.end], maxsplit=1)[0]
        return isinstance(node, Scalar) and node.style in {"|", ">"} and "+" in header

    def _line_start(self, at: int) -> int:
        return max(self._text.rfind("\n", 0, at), self._text.rfind("\r", 0, at)) + 1

    def _next_line(self, at: int) -> int:
        if self._line_start(at) == at:
            return at
        found = _LINE_END.search(self._text, at)
        return found.end() if found else len(self._text)


def _literal(old: str, wanted: Any) -> str:
    """The text under the old block's header and in its column, or nothing where that could be misread."""
    block = _LITERAL.match(old)
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


def _last_leaf(node: Node) -> Node:
    """The last node inside it that is not a block mapping or list, and so has an end of its own."""
    while not isinstance(node, Scalar) and not node.flow:
        node = node.pairs[-1][1] if isinstance(node, Mapping) else node.items[-1]
    return node


def _keeps_form(node: Mapping, wanted: dict[str, Any]) -> bool:
    """Whether a mapping can be edited pair by pair: braces if the keys stay, a block if any pair does."""
    if node.flow:
        return {key.value for key, _ in node.pairs} == wanted.keys()
    return bool(wanted)
