"""Changing a YAML file without rewriting it: cuts at the marks of the nodes that differ, and nowhere else.

A `conf.yml` belongs to people. An edit replaces a scalar where it stands, removes a key or an item of a list
with its lines, adds one after its siblings, and leaves every other byte: comments, order, layout, line ends.
Only a list or mapping that becomes something else is written anew, on one line. The result is read back and
compared. Should the cuts not say what was wanted, coarser ones are tried, which write every changed list and
every braces anew; should those fail too, the document is written out plainly: complete, its comments lost.

The agent always edits from the base text, so with no patch in force the file is the base, byte for byte.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from hms_svc.merge import same
from hms_svc.yaml_layout import BLANK, Layout
from hms_svc.yaml_tree import BYTE_ORDER_MARK, Document, Mapping, Node, Scalar, Sequence, read
from hms_svc.yaml_write import dump, inline, item_lines, literal, pair, pair_lines, says

Cut: TypeAlias = "tuple[int, int, str]"
_Entries: TypeAlias = "list[tuple[Node, Node]]"  # what stands between commas: a key and its value, or an item twice


def edit(text: str, wanted: Any) -> str:
    """The text with as few bytes changed as it takes to say `wanted`.

    Raises:
        YamlError: the text is outside the strict profile, or `wanted` cannot be said within it.
    """
    return edited(read(text), wanted)


def edited(document: Document, wanted: Any) -> str:
    """As `edit`, of a document already read. Parts that `wanted` shares with its value cost nothing.

    Raises:
        YamlError: `wanted` cannot be said within the strict profile.
    """
    if same(document.value, wanted):
        return document.text
    found = _cut(document, wanted)
    return found[0] if found else dump(wanted)


def cuts(document: Document, wanted: Any) -> list[Cut] | None:
    """What `edited` does to the text, in order: from where to where it puts what. None where it writes all anew.

    Raises:
        YamlError: as above.
    """
    if same(document.value, wanted):
        return []
    found = _cut(document, wanted)
    return found[1] if found else None


def applied(text: str, ordered: list[Cut]) -> str:
    """The text after these cuts."""
    parts: list[str] = []
    at = 0
    for start, end, new in ordered:
        parts += text[at:start], new
        at = end
    return "".join(parts) + text[at:]


def _cut(document: Document, wanted: Any) -> tuple[str, list[Cut]] | None:
    """The text that says what is wanted, and the cuts that made it."""
    mark = BYTE_ORDER_MARK if document.text.startswith(BYTE_ORDER_MARK) else ""
    for fine in (True, False):
        made = _Cuts(document.text.removeprefix(mark), fine=fine)
        text = mark + made.result(document.root, document.value, wanted)
        if says(text, wanted):
            return text, [(len(mark) + start, len(mark) + end, new) for start, end, new in made.inside()]
    return None


class _Cuts:
    """The cuts that turn one text into another; a wrong one is caught when the result is read."""

    def __init__(self, text: str, *, fine: bool) -> None:
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._borrowed = self._newline if text and text[-1] not in "\r\n" else ""
        self._text = text + self._borrowed
        self._layout = Layout(self._text)
        self._fine = fine
        self._cuts: list[Cut] = []

    def result(self, root: Node, old: Any, wanted: Any) -> str:
        """The text after all cuts, ending as it ended before."""
        if isinstance(root, Mapping) and not root.flow and isinstance(wanted, dict):
            self._block(root, old, wanted)
            if not wanted and not self._fine:  # `...` must end something
                top = root.start - root.column
                self._cut(top, top, "{}" + self._newline)
        elif root.start == root.end:
            self._cut(at := self._layout.next_line(root.start), at, inline(wanted) + self._newline)
        elif not self._inside(root, old, wanted):
            self._cut(root.start, self._tail(root), inline(wanted))
        return self._applied().removesuffix(self._borrowed)

    def _applied(self) -> str:
        return applied(self._text, self._ordered())

    def _ordered(self) -> list[Cut]:
        return sorted(self._cuts, key=lambda cut: cut[:2])

    def inside(self) -> list[Cut]:
        """The cuts in order, none beyond the end of the text as it was given."""
        last = len(self._text) - len(self._borrowed)
        return [(min(start, last), min(end, last), text) for start, end, text in self._ordered()]

    def _cut(self, start: int, end: int, text: str = "") -> None:
        self._cuts.append((start, end, text))

    def _change(self, node: Node, old: Any, wanted: Any, key: Scalar | None = None) -> None:
        """Turn a node into what is wanted: an item, or the value of a key."""
        if old is wanted or self._inside(node, old, wanted) or same(old, wanted):
            return
        if key is None or isinstance(node, Scalar) or node.flow:
            self._replace(node, wanted)
        else:
            self._inline_after(key, node, wanted)

    def _inside(self, node: Node, old: Any, wanted: Any) -> bool:
        """Change what differs inside the node; whether that can be: it stays a mapping, or a list, of its form."""
        if isinstance(node, Mapping) and isinstance(wanted, dict):
            return self._in_flow_mapping(node, old, wanted) if node.flow else self._in_block(node, old, wanted)
        if isinstance(node, Sequence) and isinstance(wanted, list) and self._fine and node.items and wanted:
            return self._in_sequence(node, old, wanted)
        return False

    def _in_flow_mapping(self, node: Mapping, old: dict[str, Any], wanted: dict[str, Any]) -> bool:
        kept = [key.value in wanted for key, _ in node.pairs]
        added = [pair(key, value) for key, value in wanted.items() if key not in old]
        moves = bool(added) or not all(kept)
        if not self._fine or (moves and not any(kept)):
            return False
        self._changed_pairs(node, old, wanted)
        if moves:
            self._in_braces(list(node.pairs), kept, len(kept), added)
        return True

    def _in_block(self, node: Mapping, old: dict[str, Any], wanted: dict[str, Any]) -> bool:
        """As `_block`, unless nothing would stay to stand behind a list's dash, or under the key above."""
        if not wanted or not (self._layout.begins_line(node) or (self._fine and _kept_first(node, wanted))):
            return False
        self._block(node, old, wanted)
        return True

    def _block(self, node: Mapping, old: dict[str, Any], wanted: dict[str, Any]) -> None:
        self._changed_pairs(node, old, wanted)
        first = self._behind_dash(node, wanted)
        if first:
            self._cut(node.start, first.start)
        for key, value in node.pairs:
            if key.value not in wanted and not (first and key.start < first.start):
                start, end = self._layout.lines(key, value)
                # Left below a `|+`, blank lines would be part of it: seldom the case, and found out by reading.
                self._cut(start, end if self._fine else self._layout.below_blank_lines(end))
        self._add(node, {key: value for key, value in wanted.items() if key not in old})

    def _changed_pairs(self, node: Mapping, old: dict[str, Any], wanted: dict[str, Any]) -> None:
        for key, value in node.pairs:
            if key.value in wanted:
                self._change(value, old[key.value], wanted[key.value], key)

    def _behind_dash(self, node: Mapping, wanted: dict[str, Any]) -> Scalar | None:
        """The key that takes the place of the first one on the line of a list's dash, if that one goes."""
        if not node.pairs or self._layout.begins_line(node) or node.pairs[0][0].value in wanted:
            return None
        return _kept_first(node, wanted)

    def _add(self, node: Mapping, pairs: dict[str, Any]) -> None:
        """Put new keys below the last sibling, in its column; in an empty document, at its end."""
        if pairs:
            at = self._layout.next_line(self._tail(node))
            self._cut(at, at, pair_lines(pairs, node.column, self._newline))

    def _in_sequence(self, node: Sequence, old: list[Any], wanted: list[Any]) -> bool:
        """Change a list between what it has in common with the old one at its head and at its end."""
        head, tail = _in_common(old, wanted)
        gone, new = len(old) - head - tail, len(wanted) - head - tail
        both = min(gone, new)
        dashes = [] if node.flow or gone == new else self._layout.dashes(node)
        if dashes is None:
            return False
        for index in range(head, head + both):
            self._change(node.items[index], old[index], wanted[index])
        kept = [not head + both <= index < head + gone for index in range(len(old))]
        added = wanted[head + both : head + new]
        if node.flow:
            self._in_braces([(item, item) for item in node.items], kept, head + both, list(map(inline, added)))
        elif dashes:
            self._in_lines(node, dashes, kept, head + both, added)
        return True

    def _in_lines(self, node: Sequence, dashes: list[int], kept: list[bool], at: int, added: list[Any]) -> None:
        """Remove the items of a block list that are not kept, and add some before the item `at`."""
        for dash, item, stays in zip(dashes, node.items, kept, strict=True):
            if not stays:
                self._cut(dash - node.column, self._layout.lines(item, item)[1])
        if added:
            below = self._layout.next_line(self._tail(node.items[at - 1])) if at else node.start - node.column
            self._cut(below, below, "".join(item_lines(item, node.column, self._newline) for item in added))

    def _in_braces(self, entries: _Entries, kept: list[bool], at: int, added: list[str]) -> None:
        """Remove the entries between braces that are not kept, and add some before the entry `at`."""
        last = len(kept) - 1 - kept[::-1].index(True)
        for index, stays in enumerate(kept):
            if not stays:
                self._cut(*self._entry(entries, index, last=index > last))
        at = min(at, last + 1)
        if at and added:
            end = entries[at - 1][1].end
            self._cut(end, end, "".join(f", {text}" for text in added))
        elif added:
            self._cut(entries[0][0].start, entries[0][0].start, "".join(f"{text}, " for text in added))

    def _entry(self, entries: _Entries, index: int, *, last: bool) -> tuple[int, int]:
        """The span to remove an entry with, and one comma: its own lines, or to its neighbour."""
        start, end = entries[index]
        own = self._layout.own_lines(start, end, last=last)
        if own:
            return own
        return (entries[index - 1][1].end, end.end) if last else (start.start, entries[index + 1][0].start)

    def _replace(self, node: Node, wanted: Any) -> None:
        """Put a value where the old one stands."""
        if node.start == node.end:
            self._cut(node.start, node.end, " " + inline(wanted))
            return
        end = self._layout.last_letter(node.start, node.end) if isinstance(node, Scalar) else self._tail(node)
        self._cut(node.start, end, self._restated(node, self._text[node.start : end], wanted))

    def _restated(self, node: Node, old: str, wanted: Any) -> str:
        """The new value in the old one's style, so far as that can say it."""
        if isinstance(node, Scalar) and node.style == "|" and not self._borrowed:
            return literal(old, wanted) or inline(wanted)
        return inline(wanted, node.style if isinstance(node, Scalar) else "")

    def _inline_after(self, key: Scalar, node: Mapping | Sequence, wanted: Any) -> None:
        """Put the value of a block on its key's line, before a comment that may stand there."""
        gap = self._text[key.end : node.start]
        colon = gap.find(":") + 1
        end = self._layout.last_letter(node.start, self._tail(node))
        self._cut(key.end + colon, end, f" {inline(wanted)}{gap[colon:].rstrip(BLANK)}")

    def _tail(self, node: Node) -> int:
        return self._layout.tail(node)


def _kept_first(node: Mapping, wanted: dict[str, Any]) -> Scalar | None:
    """The first key that stays."""
    return next((key for key, _ in node.pairs if key.value in wanted), None)


def _in_common(left: list[Any], right: list[Any]) -> tuple[int, int]:
    """How many items are the same at the head and, of the rest, at the end."""
    most = min(len(left), len(right))
    head = next((index for index in range(most) if not same(left[index], right[index])), most)
    rest = range(most - head)
    return head, next((index for index in rest if not same(left[-1 - index], right[-1 - index])), most - head)
