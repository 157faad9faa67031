"""RFC 7386 merging and what follows from it: composing patches, dotted paths, digests.

`fold(base, active patches)` is what the whole system promises, so it is made of pure functions that the
control plane's preview and the sidecar share. Nothing here mutates its arguments; results may share parts
with them.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from hms_svc import blake2
from hms_svc.wire import canonical

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MAX_DEPTH = 32
"""How deep mappings and lists may nest, in a patch and in a document alike."""
_EXACT_INTEGERS = 2**53


class Whole(dict[str, Any]):
    """A mapping inside a composed patch that replaces what stands there instead of merging with it.

    RFC 7386 alone is not closed under composition: `{"k": null}` then `{"k": {"x": 1}}` leaves exactly
    `{"x": 1}` under `k`, which no plain merge patch can say without knowing the target's other keys.
    """


_WHOLE = "\0whole"


def packed(change: Any) -> Any:
    """A composed patch as JSON can keep it: mappings that replace are marked, by a key no configuration has."""
    if not isinstance(change, dict):
        return change
    inside = {key: packed(value) for key, value in change.items()}
    return {_WHOLE: inside} if isinstance(change, Whole) else inside


def unpacked(change: Any) -> Any:
    """What `packed` was given."""
    if not isinstance(change, dict):
        return change
    if change.keys() == {_WHOLE} and isinstance(change[_WHOLE], dict):
        return Whole(unpacked(change[_WHOLE]))
    return {key: unpacked(value) for key, value in change.items()}


def merge(target: Any, change: Any) -> Any:
    """Apply one merge patch: mappings merge deep, lists and scalars replace, null deletes."""
    if not isinstance(change, dict):
        return change
    replaces = isinstance(change, Whole) or not isinstance(target, dict)
    result = {} if replaces else dict(target)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def compose(first: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """One patch equal to applying `first`, then `then`, on any target; nulls stay, for they still delete."""
    result = dict(first)
    for key, value in then.items():
        result[key] = _composed(first[key], value) if key in first else value
    return result


def _composed(earlier: Any, later: Any) -> Any:
    if not isinstance(later, dict) or isinstance(later, Whole):
        return later
    if isinstance(earlier, dict) and not isinstance(earlier, Whole):
        return compose(earlier, later)
    return Whole(merge(earlier, later))


def expand(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the dotted paths of a patch's knobs into nested mappings.

    Only the knobs themselves are paths: inside a mapping a dot is a letter, so `app.kubernetes.io/name` stays
    sayable there. Expanding twice is expanding once.

    Raises:
        ValueError: two knobs say the same key, or a path has an empty step or too many.
    """
    result: dict[str, Any] = {}
    for knob, value in changes.items():
        steps = knob.split(".")
        if not all(steps) or len(steps) > MAX_DEPTH:
            raise ValueError(f"{knob[:64]!r} is not a key path: want one to {MAX_DEPTH} names joined by dots")
        _join(result, reduce(lambda inner, step: {step: inner}, reversed(steps), value), ())
    return result


def _join(into: dict[str, Any], more: dict[str, Any], above: tuple[str, ...]) -> None:
    """Put `more` into a mapping whose mappings are all our own, so that no caller's is changed."""
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.setdefault(key, {}), dict):
            _join(into[key], value, (*above, key))
        elif key in into:
            raise ValueError(f"two knobs say {dotted((*above, key))!r}")
        else:
            into[key] = value


def dotted(path: Sequence[str]) -> str:
    """A key path as people write it; a name with a dot of its own stands in quotes."""
    return ".".join(f'"{name}"' if "." in name else name for name in path)


def leaves(document: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all values that are not themselves mappings with something in them."""
    if not isinstance(document, dict) or (above and not document):
        yield above
        return
    for key, value in document.items():
        yield from leaves(value, (*above, key))


def same(left: Any, right: Any) -> bool:
    """Equality as configuration means it: `1`, `1.0` and `true` are three values, though Python's equal."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def digest(document: Any) -> str:
    """The hex BLAKE2b-256 of a document's canonical JSON.

    A float without a fraction is written as the integer it is, so that a copy kept by a store writing `1e2`
    as `100` (Postgres' jsonb does) has the same digest.
    """
    return blake2.digest(canonical(_numbers(document)), 32).hex()


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_numbers(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    return value
