"""Strict YAML, read the same way at both ends, with the place of every node in the text.

PyYAML's own loaders take `NO` for false, `22:22` for 1342, the last of two equal keys, and 201 bytes of
aliases for 3 MB. Here the document is built from libyaml's events, so that only what a configuration needs
gets in: mappings with text keys, lists, and the scalars of YAML 1.2's core schema. Aliases, anchors, tags,
merge keys, duplicate keys, second documents, deep nesting and oversize are refused where they stand.

Marks count characters, not bytes, of the text without its byte order mark: `yaml_edit` cuts at them.
"""

from __future__ import annotations

import re
from math import isinf
from typing import Any, NamedTuple, TypeAlias

from yaml import YAMLError, events
from yaml.cyaml import CParser  # type: ignore[attr-defined] # the stubs keep it to themselves

from hms_svc.merge import MAX_DEPTH

MAX_BYTES = 1_048_576
"""The largest document read, in bytes of UTF-8."""
BYTE_ORDER_MARK = "\ufeff"

_NULLS = {"", "~", "null", "Null", "NULL"}
_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_MAX_DIGITS = 1024


class YamlError(ValueError):
    """A document outside the profile: `pointer` (RFC 6901) says where in it, `line` and `column` from 1."""

    def __init__(self, words: str, pointer: str = "", line: int = 1, column: int = 1) -> None:
        super().__init__(f"{words} (line {line}, column {column}{pointer and f', at {pointer}'})")
        self.words = words
        self.pointer = pointer
        self.line = line
        self.column = column


class Scalar(NamedTuple):
    """A single value between two marks; a key's value is its text. `style` is `|`, `>`, a quote, or empty."""

    value: Any
    start: int
    end: int
    column: int
    style: str


class Mapping(NamedTuple):
    """Pairs in the order they stand; `flow` when written in braces."""

    pairs: tuple[tuple[Scalar, Node], ...]
    start: int
    end: int
    flow: bool


class Sequence(NamedTuple):
    """Items in the order they stand; `flow` when written in brackets."""

    items: tuple[Node, ...]
    start: int
    end: int
    flow: bool


Node: TypeAlias = Scalar | Mapping | Sequence


def parse(text: str, limit: int = MAX_BYTES) -> Node:
    """Read one document. An empty one is an empty mapping, for a `conf.yml` with nothing in it says nothing.

    Raises:
        YamlError: it is not YAML, not within the strict profile, or larger than `limit` bytes.
    """
    try:
        if len(text) > limit or len(text.encode()) > limit:
            raise YamlError(f"a document is at most {limit} bytes")
        return _Reader(text.removeprefix(BYTE_ORDER_MARK)).document()
    except UnicodeEncodeError:
        raise YamlError("not Unicode text: it holds half a surrogate pair") from None
    except YAMLError as error:
        raise _located(error) from None


def plain(node: Node) -> Any:
    """The node's value without its place: dicts, lists and scalars."""
    if isinstance(node, Mapping):
        return {key.value: plain(value) for key, value in node.pairs}
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return node.value


def load(text: str, limit: int = MAX_BYTES) -> Any:
    """Read one document's value. Raises YamlError as `parse` does."""
    return plain(parse(text, limit))


def resolve(text: str) -> Any:
    """What an unquoted scalar means under the core schema.

    Raises:
        ValueError: a number no configuration can carry.
    """
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if _NOT_FINITE.fullmatch(text):
        raise ValueError(f"{text} is not a finite number")
    if _INTEGER.fullmatch(text):
        return _integer(text)
    return _float(text) if _FLOAT.fullmatch(text) else text


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS:
        raise ValueError(f"a number has at most {_MAX_DIGITS} digits")
    return int(text)


def _float(text: str) -> float | str:
    """A commit id such as 12e4567 looks like a float too large for one; it stays the text it is."""
    number = float(text)
    return text if isinf(number) else number


def _located(error: YAMLError) -> YamlError:
    mark = getattr(error, "problem_mark", None)
    words = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
    return YamlError(words, line=mark.line + 1, column=mark.column + 1) if mark else YamlError(words)


class _Reader:
    """One pass over libyaml's events, holding each to the profile; `path` is where it stands."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._parser = CParser(text)
        self._path: list[str] = []

    def document(self) -> Node:
        """The whole stream as one node."""
        self._next()  # the stream's start
        if isinstance(self._next(), events.StreamEndEvent):
            return self._nothing()
        root = self._node(self._next())
        self._next()  # the document's end
        after = self._next()
        if not isinstance(after, events.StreamEndEvent):
            raise self._error("one document a file", after)
        return self._nothing() if isinstance(root, Scalar) and root.start == root.end else root

    def _nothing(self) -> Mapping:
        return Mapping((), len(self._text), len(self._text), flow=False)

    def _next(self) -> Any:
        return self._parser.get_event()

    def _node(self, event: Any) -> Node:
        self._admit(event)
        if isinstance(event, events.ScalarEvent):
            return self._scalar(event, self._value(event))
        if isinstance(event, events.MappingStartEvent):
            return self._mapping(event)
        return self._sequence(event)

    def _admit(self, event: Any) -> None:
        if isinstance(event, events.AliasEvent):
            raise self._error("aliases are not allowed", event)
        if event.anchor is not None:
            raise self._error("anchors are not allowed", event)
        if event.tag is not None:
            raise self._error("tags are not allowed", event)
        if isinstance(event, events.CollectionStartEvent) and len(self._path) >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH}", event)

    def _scalar(self, event: Any, value: Any) -> Scalar:
        start = event.start_mark
        return Scalar(value, start.index, event.end_mark.index, start.column, event.style or "")

    def _value(self, event: Any) -> Any:
        if event.style:
            return event.value
        try:
            return resolve(event.value)
        except ValueError as error:
            raise self._error(str(error), event) from None

    def _mapping(self, start: Any) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        seen: set[str] = set()
        while not isinstance(event := self._next(), events.MappingEndEvent):
            key = self._key(event, seen)
            pairs.append((key, self._child(key.value, self._next())))
        return Mapping(tuple(pairs), *_span(start, event))

    def _sequence(self, start: Any) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := self._next(), events.SequenceEndEvent):
            items.append(self._child(str(len(items)), event))
        return Sequence(tuple(items), *_span(start, event))

    def _child(self, step: str, event: Any) -> Node:
        self._path.append(step)
        node = self._node(event)
        self._path.pop()
        return node

    def _key(self, event: Any, seen: set[str]) -> Scalar:
        self._admit(event)
        if not isinstance(event, events.ScalarEvent):
            raise self._error("a key must be text", event)
        if event.value == "<<" and not event.style:
            raise self._error("merge keys are not allowed", event)
        if type(self._value(event)) not in {int, str}:
            raise self._error(f"a key must be text: quote {event.value!r}", event)
        if event.value in seen:
            self._path.append(event.value)
            raise self._error(f"the key {event.value!r} stands twice", event)
        seen.add(event.value)
        return self._scalar(event, event.value)

    def _error(self, words: str, event: Any) -> YamlError:
        mark = event.start_mark
        return YamlError(words, pointer(self._path), mark.line + 1, mark.column + 1)


def _span(start: Any, end: Any) -> tuple[int, int, bool]:
    """Where a collection stands, and whether in flow style."""
    return start.start_mark.index, end.end_mark.index, bool(start.flow_style)


def pointer(path: list[str]) -> str:
    """A JSON pointer (RFC 6901) from its steps."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
