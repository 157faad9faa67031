"""The layout of one text: which lines are whose, and where a node ends to the eye.

libyaml's marks say where a node begins, and in which column. Its ends are another matter: a block's lies beyond
the blanks and comments below it, and lists do not say where their dashes stand.
"""

from __future__ import annotations

import re

from hms_svc.yaml_tree import Mapping, Node, Scalar, Sequence

BLANK = " \t\r\n"
_LINE_END = re.compile(r"\r\n|[\r\n]")
# What may stand behind an entry in braces that has its lines to itself. The last one needs no comma.
_LINES_REST = r"[ \t]*(,?)[ \t]*(?:#[^\r\n]*)?(?=[\r\n])"


class Layout:
    """Looks at a text around its nodes. No question costs more than the node it is about and one line."""

    def __init__(self, text: str) -> None:
        self.text = text

    def begins_line(self, node: Node) -> bool:
        """Whether nothing but blanks stands before it on its line."""
        return not self.text[node.start - node.column : node.start].strip(" ")

    def next_line(self, at: int) -> int:
        """The first beginning of a line that is not before a place."""
        if not at or self.text[at - 1] in "\r\n":
            return at
        found = _LINE_END.search(self.text, at)
        return found.end() if found else len(self.text)

    def lines(self, start: Node, end: Node) -> tuple[int, int]:
        """From the line one node begins on to the end of the other's last."""
        return start.start - start.column, self.next_line(last_leaf(end).end)

    def below_blank_lines(self, at: int) -> int:
        """Where the next line begins that has something on it."""
        found = re.compile(r"(?:[ \t]*(?:\r\n|[\r\n]))*").match(self.text, at)
        return found.end() if found else at

    def own_lines(self, start: Node, end: Node, *, last: bool) -> tuple[int, int] | None:
        """The lines of an entry in braces, if it shares them with none and leaves a comma before every other."""
        rest = re.compile(_LINES_REST).match(self.text, end.end)  # compiled when first needed
        if not rest or not (rest[1] or last) or not self.begins_line(start):
            return None
        return start.start - start.column, self.next_line(rest.end())

    def tail(self, node: Node) -> int:
        """Where the node's own text ends: a block's mark lies beyond the blanks and comments after it."""
        leaf = last_leaf(node)
        return leaf.end if self._keeps_blank_lines(leaf) else self.last_letter(leaf.start, leaf.end)

    def last_letter(self, start: int, end: int) -> int:
        """Where the last letter between two places ends."""
        return start + len(self.text[start:end].rstrip(BLANK))

    def _keeps_blank_lines(self, node: Node) -> bool:
        """Whether it is a block scalar with a header such as `|+`, under which blank lines are its own."""
        if not isinstance(node, Scalar) or node.style not in {"|", ">"}:
            return False
        return "+" in _LINE_END.split(self.text[node.start : node.end], maxsplit=1)[0]

    def dashes(self, node: Sequence) -> list[int] | None:
        """Where the dashes of a block list stand; None when the first shares its line with something else."""
        if not self.begins_line(node):
            return None
        dashes = [node.start]
        dash = re.compile(rf"(?<![^\r\n]) {{{node.column}}}(?=-[ \t\r\n])")
        for item in node.items[:-1]:
            found = dash.search(self.text, self.next_line(self.tail(item)))
            if not found:
                return None
            dashes.append(found.end())
        return dashes


def last_leaf(node: Node) -> Node:
    """The last node inside it that is not a block mapping or list, and so has an end of its own."""
    while not isinstance(node, Scalar) and not node.flow and node.start < node.end:
        node = node.pairs[-1][1] if isinstance(node, Mapping) else node.items[-1]
    return node
