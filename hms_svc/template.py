"""Filling the gaps (`{{cpu}}`, `{{db.url}}`) of Config Templates and rendered files.

There is no template language, and so nothing to escape from: a gap is a name, looked up in a mapping. In YAML
and JSON the gaps are filled in the parsed tree, where a value cannot become syntax and a number stays a number.
A file such as `nginx.conf` has no tree, so only values that cannot carry syntax get in. Braces that hold no
name are left alone.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hms_svc.wire import canonical
from hms_svc.yaml_edit import edited
from hms_svc.yaml_tree import Document, Mapping, Node, Sequence, pointer, read

MAX_FILLED = 1_048_576
"""How much all values put into one template may add up to, in bytes of JSON: gaps repeat, memory does not."""

_GAP = re.compile(r"\{\{([ \t]*[A-Za-z_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*[ \t]*)\}\}")
_JSON_TEXT_OR_GAP = rf'"(?:[^"\\]|\\.)*"|{_GAP.pattern}'
_HARMLESS = re.compile(r"[A-Za-z0-9_.:/@%+,=-]*")
# A gap without quotes would be two braces to YAML. These letters, which nobody writes, stand in for braces.
_OPEN, _CLOSE = "\ue000", "\ue001"
_SHIELDED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")


class TemplateError(ValueError):
    """A gap that cannot be filled; `pointer` says where: a JSON pointer in a tree, a line in a text.

    `line` is where that is in the tree's text, if it has one.
    """

    def __init__(self, words: str, pointer: str, line: int = 0) -> None:
        super().__init__(f"{words}, at {pointer or 'the top'}" + (f" (line {line})" if line else ""))
        self.words = words
        self.pointer = pointer


class NoValue(TemplateError):
    """A gap whose name the values do not hold."""


def fill_tree(tree: Any, values: dict[str, Any]) -> Any:
    """The parsed tree with its gaps filled; a scalar that is one gap takes the value with its type.

    Raises:
        TemplateError: a gap has no value, stands in a key, or has no scalar to put into a longer text.
    """
    return _Filler(values).node(tree, [])


def fill_yaml(text: str, values: dict[str, Any]) -> str:
    """A YAML template's text with its gaps filled, quoted or not; comments and layout stay.

    Raises:
        ValueError: TemplateError as in `fill_tree`, YamlError when it is not a template of strict YAML.
    """
    if _OPEN in text or _CLOSE in text:
        raise TemplateError("the letters U+E000 and U+E001 cannot stand in a template", "")
    document = read(_GAP.sub(rf"{_OPEN}\1{_CLOSE}", text))
    try:
        filled = fill_tree(_unshielded(document.value), values)
    except TemplateError as error:
        raise _located(error, document) from None
    return _with_braces(edited(document, filled))


def _located(error: TemplateError, document: Document) -> TemplateError:
    line = document.text.count("\n", 0, _place(document.root, error.pointer)) + 1
    return TemplateError(error.words, error.pointer, line)


def _place(node: Node, where: str) -> int:
    """Where in the text the key or item stands that a pointer names."""
    at = node.start
    for step in where.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(node, Mapping):
            key, node = next(pair for pair in node.pairs if _with_braces(pair[0].value) == name)
            at = key.start
        elif isinstance(node, Sequence):
            node = node.items[int(name)]
            at = node.start
    return at


def fill_json(text: str, values: dict[str, Any]) -> str:
    """A JSON template's text with its gaps filled, quoted or not; indented anew, for JSON has no comments to lose.

    Raises:
        ValueError: TemplateError as in `fill_tree`; it says the line when the template is no JSON.
    """
    # Compiled when first needed: few render JSON.
    quoted = re.sub(_JSON_TEXT_OR_GAP, lambda found: f'"{found[0]}"' if found[1] else found[0], text)
    tree = json.loads(quoted, object_pairs_hook=_once_each, parse_constant=_no_constant)
    try:
        filled = fill_tree(tree, values)
    except TemplateError as error:
        raise _located(error, read(quoted)) from None  # JSON is YAML enough to find a line in
    return json.dumps(filled, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice")
    return result


def _no_constant(word: str) -> None:
    raise ValueError(f"{word} is not a finite number")


def _with_braces(text: str) -> str:
    return _SHIELDED.sub(r"{{\1}}", text)


def _unshielded(value: Any) -> Any:
    if isinstance(value, str):
        return _with_braces(value)
    if isinstance(value, dict):
        return {_unshielded(key): _unshielded(item) for key, item in value.items()}
    return [_unshielded(item) for item in value] if isinstance(value, list) else value


def fill_text(text: str, values: dict[str, Any]) -> str:
    """A rendered file's text with its gaps filled by numbers, bools and texts that carry no syntax.

    Raises:
        TemplateError: a gap has no value, or one that could say more than itself.
    """
    filler = _Filler(values)
    return "\n".join(filler.line(line, f"line {n}") for n, line in enumerate(text.split("\n"), start=1))


class _Filler:
    """Looks gaps up and keeps count of how much they let in."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self._room = MAX_FILLED

    def node(self, node: Any, path: list[str]) -> Any:
        if isinstance(node, dict):
            return {self._key(key, path): self.node(item, [*path, key]) for key, item in node.items()}
        if isinstance(node, list):
            return [self.node(item, [*path, str(index)]) for index, item in enumerate(node)]
        return self._string(node, pointer(path)) if isinstance(node, str) else node

    def _key(self, key: str, path: list[str]) -> str:
        if _GAP.search(key):
            raise TemplateError(f"a gap cannot be part of a key: {key!r}", pointer([*path, key]))
        return key

    def _string(self, text: str, where: str) -> Any:
        whole = _GAP.fullmatch(text)
        if whole:
            return self._value(whole[1], where)
        return _GAP.sub(lambda gap: self._text(gap[1], where), text)

    def _value(self, name: str, where: str) -> Any:
        """The value of a gap, which may be a mapping or a list."""
        found: Any = self._values
        for step in name.strip().split("."):
            if not isinstance(found, dict) or step not in found:
                raise NoValue(f"no value for the gap {{{{{name.strip()}}}}}", where)
            found = found[step]
        self._admit(found, where)
        return found

    def _admit(self, value: Any, where: str) -> None:
        try:
            self._room -= len(canonical(value))
        except (TypeError, ValueError) as error:
            raise TemplateError(f"a value is not JSON: {error}", where) from None
        if self._room < 0:
            raise TemplateError(f"the values add up to more than {MAX_FILLED} bytes", where)

    def _text(self, name: str, where: str) -> str:
        """The value of a gap inside a longer text."""
        value = self._value(name, where)
        if isinstance(value, str):
            return value
        if isinstance(value, bool | int | float):
            return canonical(value).decode()
        raise TemplateError(f"the value of {{{{{name.strip()}}}}} is no text, number or bool", where)

    def line(self, line: str, where: str) -> str:
        """A line of a text whose syntax we do not know, with its gaps filled by what is none."""
        return _GAP.sub(lambda gap: self._harmless(gap[1], where), line)

    def _harmless(self, name: str, where: str) -> str:
        text = self._text(name, where)
        if not _HARMLESS.fullmatch(text):
            raise TemplateError(f"the value of {{{{{name.strip()}}}}} may hold only A-Z a-z 0-9 _.:/@%+,=-", where)
        return text
