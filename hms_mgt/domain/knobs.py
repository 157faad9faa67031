"""What may stand under `changes`: the known knobs with their limits, and the bounds for all others."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from hms_mgt.domain.quantity import is_quantity
from hms_mgt.errors import Problem, pointer

MOST_KNOBS = 200
DEEPEST = 8
LONGEST_TEXT = 4096
LARGEST_NUMBER = 2**53  # beyond it JSON readers disagree
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


def _whole(least: int, most: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if not isinstance(value, int) or isinstance(value, bool):
            return f"must be a whole number, not {_kind(value)}"
        if value > most:
            return f"Exceeds platform cap: at most {most}"
        return None if value >= least else f"must be at least {least}"

    return check


def _quantity(value: Any) -> str | None:
    return None if is_quantity(value) else "must be a quantity such as '500m' or '1Gi'"


KNOWN: Mapping[str, Callable[[Any], str | None]] = {
    "rate_limit_rps": _whole(1, 1000),
    "replicas": _whole(1, 100),
    "cpu": _quantity,
    "memory": _quantity,
}


def problems(changes: Mapping[str, Any]) -> list[Problem]:
    """Check expanded changes (nested mappings, no dotted paths). Returns every problem with its pointer."""
    found = known_problems(changes, "/changes")
    counter = _Counter()
    _walk(changes, "/changes", 1, found, counter)
    if counter.knobs > MOST_KNOBS:
        found.append(Problem("/changes", f"has {counter.knobs} values; at most {MOST_KNOBS}"))
    return found


def known_problems(document: Mapping[str, Any], above: str) -> list[Problem]:
    """Check the known knobs of a document by their own limits. `above` points to the document."""
    return [
        Problem(above + pointer(name), words)
        for name, check in KNOWN.items()
        if name in document and (words := check(document[name])) is not None
    ]


class _Counter:
    """How many values were seen on the walk."""

    knobs = 0


def _walk(value: Any, here: str, depth: int, found: list[Problem], counter: _Counter) -> None:
    if depth > DEEPEST:
        found.append(Problem(here, f"is nested deeper than {DEEPEST} levels"))
    elif isinstance(value, Mapping):
        for key, below in value.items():
            if not isinstance(key, str) or _KEY.fullmatch(key) is None:
                found.append(Problem(here + pointer(key), "a knob is named with letters, digits, '_', '-', '.'"))
            else:
                _walk(below, here + pointer(key), depth + 1, found, counter)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            _walk(below, here + pointer(index), depth + 1, found, counter)
    else:
        counter.knobs += 1
        words = _scalar(value)
        if words is not None:
            found.append(Problem(here, words))


def _scalar(value: Any) -> str | None:
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return None if abs(value) <= LARGEST_NUMBER else "is too large a number"
    if isinstance(value, str):
        return _text(value)
    return f"has a type that configuration cannot hold: {_kind(value)}"


def _text(value: str) -> str | None:
    if len(value) > LONGEST_TEXT:
        return f"is longer than {LONGEST_TEXT} characters"
    return "has a control character" if any(map(_unprintable, value)) else None


def _unprintable(letter: str) -> bool:
    surrogate = 0xD800 <= ord(letter) <= 0xDFFF  # half a character: cannot be written as UTF-8
    return surrogate or (ord(letter) < 32 and letter not in "\n\t")


def _kind(value: Any) -> str:
    names = {bool: "true or false", str: "text", float: "a fraction", list: "a list", dict: "a mapping"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
