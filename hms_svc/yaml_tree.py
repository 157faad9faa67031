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

from yaml import YAMLError
from yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from hms_svc.merge import MAX_DEPTH

try:
    from yaml._yaml import CParser
except ImportError:  # the binding's name is PyYAML's own affair: then by the loader that is everybody's
    from yaml import CBaseLoader as CParser

MAX_BYTES = 1_048_576
"""The largest document read, in bytes of UTF-8."""
BYTE_ORDER_MARK = "\ufeff"

_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NUMBER_STARTS = frozenset("+-.0123456789")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_FLOAT = r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)"
_NOT_FINITE = frozenset(sign + word for sign in ("", "-", "+") for word in (".inf", ".Inf", ".INF"))
_NOT_FINITE |= {".nan", ".NaN", ".NAN"}
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
    column: int
    flow: bool


class Sequence(NamedTuple):
    """Items in the order they stand; `flow` when written in brackets."""

    items: tuple[Node, ...]
    start: int
    end: int
    column: int
    flow: bool


Node: TypeAlias = Scalar | Mapping | Sequence


class Document(NamedTuple):
    """One text read once: where everything stands, and what it says. Nobody changes any of it."""

    text: str
    root: Node
    value: Any


def read(text: str, limit: int = MAX_BYTES) -> Document:
    """Read one document. An empty one is an empty mapping, for a `conf.yml` with nothing in it says nothing.

    Raises:
        YamlError: it is not YAML, not within the strict profile, or larger than `limit` bytes.
    """
    root = parse(text, limit)
    return Document(text, root, plain(root))


def load(text: str, limit: int = MAX_BYTES) -> Any:
    """Read one document's value. Raises YamlError as `read` does."""
    return plain(parse(text, limit))


def parse(text: str, limit: int = MAX_BYTES) -> Node:
    """Read one document's nodes. Raises YamlError as `read` does."""
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


def resolve(text: str) -> Any:
    """What an unquoted scalar means under the core schema.

    Raises:
        ValueError: a number no configuration can carry.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMBER_STARTS:
        return text
    if text in _NOT_FINITE:
        raise ValueError(f"{text} is not a finite number")
    if _INTEGER.fullmatch(text):
        return _integer(text)
    # Compiled when first needed: few documents hold such a number.
    return _float(text) if re.fullmatch(_FLOAT, text) else text


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
    """One pass over libyaml's events, holding each to the profile; `path` is where it stands.

    A configuration has a thousand events, and the agent reads one at every change: hence the types compared by
    identity and the few calls per event.
    """

    def __init__(self, text: str) -> None:
        self._next = CParser(text).get_event
        self._path: list[str] = []

    def document(self) -> Node:
        """The whole stream as one node."""
        self._next()  # the stream's start
        event = self._next()
        if type(event) is StreamEndEvent:
            return _nothing(event)
        event = self._next()
        root = self._node(event)
        self._next()  # the document's end
        after = self._next()
        if type(after) is not StreamEndEvent:
            raise self._error("one document a file", after)
        return _nothing(event) if isinstance(root, Scalar) and root.start == root.end else root

    def _node(self, event: Any) -> Node:
        kind = type(event)
        if kind is AliasEvent or event.anchor is not None or event.tag is not None:
            raise self._stranger(event)
        if kind is ScalarEvent:
            value, style, start = event.value, event.style, event.start_mark
            if not style and (value in _WORDS or value[0] in _NUMBER_STARTS):
                value = self._resolved(event)
            return _scalar(Scalar, (value, start.index, event.end_mark.index, start.column, style))
        if len(self._path) >= MAX_DEPTH:
            raise self._error(f"nested deeper than {MAX_DEPTH}", event)
        return self._mapping(event) if kind is MappingStartEvent else self._sequence(event)

    def _stranger(self, event: Any) -> YamlError:
        """What the profile has no room for, whatever the node is."""
        if type(event) is AliasEvent:
            return self._error("aliases are not allowed", event)
        return self._error(f"{'tags' if event.anchor is None else 'anchors'} are not allowed", event)

    def _resolved(self, event: Any) -> Any:
        try:
            return resolve(event.value)
        except ValueError as error:
            raise self._error(str(error), event) from None

    def _mapping(self, start: Any) -> Mapping:
        pairs: list[tuple[Scalar, Node]] = []
        seen: set[str] = set()
        following, path = self._next, self._path
        while type(event := following()) is not MappingEndEvent:
            key = self._key(event, seen)
            path.append(key.value)
            pairs.append((key, self._node(following())))
            path.pop()
        return Mapping(tuple(pairs), *_span(start, event))

    def _sequence(self, start: Any) -> Sequence:
        items: list[Node] = []
        following, path = self._next, self._path
        while type(event := following()) is not SequenceEndEvent:
            path.append(str(len(items)))
            items.append(self._node(event))
            path.pop()
        return Sequence(tuple(items), *_span(start, event))

    def _key(self, event: Any, seen: set[str]) -> Scalar:
        kind = type(event)
        if kind is not ScalarEvent or event.anchor is not None or event.tag is not None:
            raise self._no_key(event)
        name, style, start = event.value, event.style, event.start_mark
        if not style and (name in _WORDS or name[0] in _NUMBER_STARTS or name == "<<"):
            self._check_plain_key(event)
        if name in seen:
            self._path.append(name)
            raise self._error(f"the key {name!r} stands twice", event)
        seen.add(name)
        return _scalar(Scalar, (name, start.index, event.end_mark.index, start.column, style))

    def _no_key(self, event: Any) -> YamlError:
        strange = type(event) is AliasEvent or event.anchor is not None or event.tag is not None
        return self._stranger(event) if strange else self._error("a key must be text", event)

    def _check_plain_key(self, event: Any) -> None:
        if event.value == "<<":
            raise self._error("merge keys are not allowed", event)
        if type(self._resolved(event)) not in {int, str}:
            raise self._error(f"a key must be text: quote {event.value!r}", event)

    def _error(self, words: str, event: Any) -> YamlError:
        mark = event.start_mark
        return YamlError(words, pointer(self._path), mark.line + 1, mark.column + 1)


def _nothing(event: Any) -> Mapping:
    """An empty document, at the place where something could stand: before a `...`, if there is one."""
    at = event.start_mark.index
    return Mapping((), at, at, 0, flow=False)


_scalar = tuple.__new__  # what Scalar(...) comes to in the end, without the way there


def _span(start: Any, end: Any) -> tuple[int, int, int, bool]:
    """Where a collection stands, and whether in flow style."""
    mark = start.start_mark
    return mark.index, end.end_mark.index, mark.column, bool(start.flow_style)


def pointer(path: list[str]) -> str:
    """A JSON pointer (RFC 6901) from its steps."""
    return "".join("/" + step.replace("~", "~0").replace("/", "~1") for step in path)
