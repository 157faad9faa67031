"""What to do when a person edited conf.yml: keep what is theirs, take back what a patch rules.

Pure. Keys outside the patches join the base, with the comments and layout the person wrote; keys under a
patch get their base value in the new base (so the next fold heals the file, and the patch's end restores the
right value).
"""

from typing import Any, NamedTuple

from hms_svc.candidate import mapping
from hms_svc.merge import Whole, dotted, leaves, merge, same
from hms_svc.yaml_edit import edit


class Drift(NamedTuple):
    """The base after the edit, and the dotted paths of the keys that were healed."""

    base: str
    healed: tuple[str, ...]


def adopt(base: str, overlay: dict[str, Any], edited: str) -> Drift:
    """Split a person's edit of fold(base, overlay); ValueError when the edited text is no mapping."""
    before, found = mapping(base), mapping(edited)
    wanted = without(found, before, overlay)
    healed = differences(merge(wanted, overlay), found)
    text = edited if same(wanted, found) else edit(edited, wanted)
    return Drift(text, tuple(healed))


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
    paths = {path for path in (*leaves(left), *leaves(right)) if path}
    return sorted(dotted(path) for path in paths if not same(_at(left, path), _at(right, path)))


def _at(document: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return _ABSENT
        document = document[name]
    return document


_ABSENT = object()
