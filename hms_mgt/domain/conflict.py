"""Conflicts: two patches that set the same knob of the same versions at the same time, and neither says which counts.

Whoever means it says so: by superseding the other patch, or by a priority of its own.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeAlias

from hms_mgt.domain.patch import Patch, PatchSpec
from hms_mgt.domain.window import Window
from hms_svc import merge
from hms_svc.selector import Version, parse_selector

Path: TypeAlias = tuple[str, ...]
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


class Overlap(NamedTuple):
    """One other patch in the way."""

    patch_id: int
    # Dotted paths that both touch.
    knobs: tuple[str, ...]
    # Catalogued or live versions that both select.
    versions: tuple[str, ...]
    # The instants of overlap, half-open; no end is for good.
    start: datetime
    end: datetime | None


class _Clash(NamedTuple):
    """Another patch that may not hold together with the new one, with what both touch."""

    patch: Patch
    knobs: tuple[str, ...]
    versions: tuple[str, ...]


def overlaps(spec: PatchSpec, others: Sequence[Patch], versions: Collection[str]) -> list[Overlap]:
    """Return which of the others are in the way of the new patch, and where.

    `others` are the standing patches of the same tenant and service. Those that the new one supersedes do not count,
    nor do those of another priority: which of two priorities wins is said already. Two selectors meet only on a
    version that there is.
    """
    found = []
    for clash in _clashes(spec, (one for one in others if one.spec.window.meets(spec.window)), versions):
        window = clash.patch.spec.window
        start, end = max(spec.window.start, window.start), _earlier(spec.window.end, window.end)
        found.append(Overlap(clash.patch.id, clash.knobs, clash.versions, start, end))
    return found


def next_free(spec: PatchSpec, others: Sequence[Patch], versions: Collection[str]) -> Window | None:
    """Return the earliest window, as long as the patch's and not before it, that none of the others overlaps.

    None: there is none, because something in the way never ends, or because time as we can write it does.
    """
    taken = sorted(
        (clash.patch.spec.window for clash in _clashes(spec, others, versions)), key=lambda window: window.start
    )
    free: Window | None = spec.window
    # Each begins no earlier than the one before it, so a window that had to give way never has to look back.
    for window in taken:
        if free is not None and window.meets(free):
            free = None if window.end is None else _moved(free, window.end)
    return free


def _clashes(spec: PatchSpec, others: Iterable[Patch], versions: Collection[str]) -> list[_Clash]:
    paths = _paths(spec)
    there = sorted(Version.parse(version) for version in set(versions))
    mine = [version for version in there if parse_selector(spec.version_selector).admits(version)]
    found = []
    for one in others:
        if one.spec.priority != spec.priority or one.id in spec.supersedes:
            continue
        knobs = _shared(paths, _paths(one.spec))
        both = tuple(version.text for version in mine if parse_selector(one.spec.version_selector).admits(version))
        if knobs and both:
            found.append(_Clash(one, knobs, both))
    return found


def _paths(spec: PatchSpec) -> set[Path]:
    return set(merge.leaves(merge.expand(spec.changes)))


def _shared(mine: set[Path], theirs: set[Path]) -> tuple[str, ...]:
    """Return the paths that both touch: of two where one lies under the other, the longer one."""
    found = {path for path in mine if _under(path, theirs)} | {path for path in theirs if _under(path, mine)}
    return tuple(sorted(map(merge.dotted, found)))


def _under(path: Path, above: set[Path]) -> bool:
    """Tell whether a path is one of these, or lies below one: setting `a` decides about `a.b` as well."""
    return any(path[:length] in above for length in range(1, len(path) + 1))


def _earlier(one: datetime | None, other: datetime | None) -> datetime | None:
    return min((end for end in (one, other) if end is not None), default=None)


def _moved(window: Window, start: datetime) -> Window | None:
    if window.end is None:
        return Window(start, None)
    length: timedelta = window.end - window.start
    return Window(start, start + length) if length <= _END_OF_TIME - start else None
