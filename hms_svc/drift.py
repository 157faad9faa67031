"""What to do when a person edited conf.yml: keep what is theirs, take back what a patch rules.

Pure. Keys outside the patches join the base, with the comments and layout the person wrote; keys under a
patch get their base value in the new base (so the next fold heals the file, and the patch's end restores the
right value).
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from hms_svc.candidate import mapping
from hms_svc.merge import Whole, dotted, leaves, merge, same
from hms_svc.yaml_edit import edit
from hms_svc.yaml_write import says


class Drift(NamedTuple):
    """The base after the edit, and the dotted paths of the keys that were healed."""

    base: str
    healed: tuple[str, ...]


def adopt(base: str, overlay: dict[str, Any], edited: str, older: Iterable[str] = ()) -> Drift:
    """Split a person's edit of fold(base, overlay), or of older texts put back; ValueError when it is no mapping."""
    before, said = mapping(base), mapping(edited)
    found = _as_edit_of(merge(before, overlay), said, [mapping(text) for text in older])
    wanted = without(found, before, overlay)
    healed = differences(merge(wanted, overlay), found)
    text = edited if same(wanted, said) else _without_ours(base, overlay, edited, wanted)
    return Drift(text, tuple(healed))


def _without_ours(base: str, overlay: dict[str, Any], edited: str, wanted: dict[str, Any]) -> str:
    """The edited text as it would be without our changes: the same edit made to the base, where it stands apart."""
    from hms_svc.transplant import transplanted  # noqa: PLC0415 - most agents never see an edit

    apart = transplanted(base, overlay, edited)
    return apart if apart is not None and says(apart, wanted) else edit(edited, wanted)


def _as_edit_of(folded: dict[str, Any], found: dict[str, Any], older: list[dict[str, Any]]) -> dict[str, Any]:
    """The edit as if it had been made to `folded`. What it was made to is what it resembles most."""
    shown = min((folded, *older), key=lambda document: len(differences(document, found)))
    return found if shown is folded else _carried(shown, found, folded)


def _carried(shown: dict[str, Any], found: dict[str, Any], onto: dict[str, Any]) -> dict[str, Any]:
    """`onto` with what is in `found` and not in `shown`, and without what is in `shown` and not in `found`."""
    result = dict(onto)
    for key in dict.fromkeys((*shown, *found)):
        was, now, there = shown.get(key, _ABSENT), found.get(key, _ABSENT), onto.get(key, _ABSENT)
        if now is _ABSENT:
            result.pop(key, None)
        elif isinstance(was, dict) and isinstance(now, dict) and isinstance(there, dict):
            result[key] = _carried(was, now, there)
        elif not same(was, now):
            result[key] = now
    return result


def without(found: dict[str, Any], base: dict[str, Any], overlay: dict[str, Any]) -> dict[str, Any]:
    """`found` with every key the overlay rules set back to what the base says."""
    result = dict(found)
    for key, change in overlay.items():
        inner, below = found.get(key), base.get(key, {})
        merges = isinstance(change, dict) and not isinstance(change, Whole)
        if merges and isinstance(inner, dict) and isinstance(below, dict):
            result[key] = without(inner, below, change)
            if key not in base and not result[key]:
                del result[key]
        elif key in base:
            result[key] = base[key]
        else:
            result.pop(key, None)
    return result


def differences(left: dict[str, Any], right: dict[str, Any]) -> list[str]:
    """The dotted paths at which two documents differ, sorted."""
    return sorted(map(dotted, _differing(left, right)))


def _differing(left: dict[str, Any], right: dict[str, Any]) -> list[tuple[str, ...]]:
    paths = dict.fromkeys(path for path in (*leaves(left), *leaves(right)) if path)
    return [path for path in paths if not same(_at(left, path), _at(right, path))]


def remaining(base: dict[str, Any], overlay: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    """The part of the overlay that `found` shows where the base would not."""
    made = merge(base, overlay)
    return _read_off(made, [path for path in _differing(base, made) if same(_at(made, path), _at(found, path))])


def changes(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """Every key at which the one differs from the other, with its value there: a patch that rules them all."""
    return _read_off(after, _differing(before, after))


def _read_off(document: dict[str, Any], paths: list[tuple[str, ...]]) -> dict[str, Any]:
    """A patch that sets these paths to what the document says there."""
    result: dict[str, Any] = {}
    for path in sorted(paths, key=len):
        value = _at(document, path)
        _put(result, path, None if value is _ABSENT else value)
    return result


def _put(into: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what is at a path, unless something above it says all there is."""
    name, *below = path
    if not below:
        into.setdefault(name, value)
    elif isinstance(into.setdefault(name, {}), dict):
        _put(into[name], below, value)


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return _ABSENT
        document = document[name]
    return document


_ABSENT = object()
