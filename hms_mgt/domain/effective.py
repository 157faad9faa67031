"""Why each value is what it is: the layers under every key, the one that won, and what changes it next."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import accumulate, dropwhile
from typing import Any, Final, NamedTuple, TypeAlias

from hms_mgt.domain.plan import Step
from hms_svc import layers, merge, messages

Path: TypeAlias = tuple[str, ...]
# In place of a value: there is none. `null` is one, in a base.
ABSENT: Final = object()


class Layer(NamedTuple):
    """What one layer made of a key. `patch_id` is None for the base; where the value is ABSENT it took the key away."""

    patch_id: int | None
    value: Any
    # The path that the patch sets: the key's own, or one above it.
    through: Path


class Change(NamedTuple):
    """When a key gets another value, and why. `at` is None where it is due and no clock says when."""

    at: datetime | None
    value: Any
    because: str


class Key(NamedTuple):
    """One key with all that is said about it. The last layer won; where there is none, the key is yet to come."""

    path: Path
    value: Any
    layers: tuple[Layer, ...]
    next_change: Change | None


def explain(base: Mapping[str, Any], stack: Sequence[messages.Patch], ahead: Sequence[Step]) -> list[Key]:
    """Explain every key there is, was taken away, or will be. `stack` is what is in force, in fold order."""
    stages = list(accumulate(stack, lambda below, patch: merge.merge(below, patch.changes), initial=dict(base)))
    known = {patch.id: patch for step in ahead for patch in step.stack} | {patch.id: patch for patch in stack}
    every = layers.fold_order(known.values())
    configuration = layers.fold(dict(base), stack)
    found = []
    for path in _paths(base, configuration, every):
        mine = {one.id: through for one in every if (through := decides(one.changes, path)) is not None}
        under = tuple(_layers(path, stages, stack, mine))
        value = value_at(configuration, path)
        following = _next_change(path, base, [known[number] for number in mine], value, ahead)
        if under or following:
            found.append(Key(path, value, under, following))
    return found


def value_at(document: Any, path: Path) -> Any:
    """Return what stands at a path, or ABSENT."""
    for name in path:
        if not isinstance(document, dict) or name not in document:
            return ABSENT
        document = document[name]
    return document


def decides(change: Any, path: Path) -> Path | None:
    """Return the path by which a change decides the value at `path`: itself, or one above; None where it does not."""
    for depth, name in enumerate(path):
        if not isinstance(change, dict):
            return path[:depth]
        if name not in change:
            return None
        change = change[name]
    return path


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are one to a configuration; ABSENT is like itself only."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return merge.same(one, other)


def _paths(base: Mapping[str, Any], configuration: Any, every: Iterable[messages.Patch]) -> list[Path]:
    """Return the keys that are there, in the document's order, then those that are mentioned and not there."""
    mentioned = [path for document in (base, *(one.changes for one in every)) for path in merge.leaves(document)]
    absent = [path for path in dict.fromkeys(mentioned) if value_at(configuration, path) is ABSENT]
    return [*merge.leaves(configuration), *absent]


def _layers(
    path: Path, stages: Sequence[Any], stack: Sequence[messages.Patch], mine: Mapping[int, Path]
) -> Iterator[Layer]:
    if value_at(stages[0], path) is not ABSENT:
        yield Layer(None, value_at(stages[0], path), path)
    for patch, folded in zip(stack, stages[1:], strict=True):
        if patch.id in mine:
            yield Layer(patch.id, value_at(folded, path), mine[patch.id])


def _next_change(
    path: Path, base: Mapping[str, Any], mine: Sequence[messages.Patch], value: Any, ahead: Sequence[Step]
) -> Change | None:
    """Find the first step that gives the key another value. `mine` decide it at some time; others need no look."""
    numbers = {patch.id for patch in mine}
    for step in ahead:
        if numbers.isdisjoint(step.moved):
            continue
        there = [patch for patch in step.stack if patch.id in numbers]
        following = value_at(layers.fold(dict(base), there), path)
        if not same(following, value):
            return Change(step.at, following, _because(step.moved, mine, there))
    return None


def _because(moved: Mapping[int, str], mine: Sequence[messages.Patch], there: Collection[messages.Patch]) -> str:
    """Say what came and went, but for what lies below the new winner: that changes nothing."""
    winner = list(there)[-1].id if there else None
    above = dropwhile(lambda patch: winner is not None and patch.id != winner, mine)
    words = [moved[patch.id] for patch in above if patch.id in moved]
    return ", ".join(words or [moved[patch.id] for patch in mine if patch.id in moved])
