"""Which patches shape a service version at an instant: by what the stream held, or by what is planned for later.

What an instance folds is decided by the sidecars' own code, so an explanation cannot differ from what they do.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import NamedTuple

from hms_mgt.domain import freeze
from hms_mgt.domain.freeze import Freeze
from hms_mgt.domain.patch import GOING_ON, IN_STREAM, PLANNED, Patch, Status
from hms_svc import layers, messages, wire


class Known(NamedTuple):
    """A patch as it was when one looked, which need not be now: its status, and when it began or was to begin."""

    patch: Patch
    status: Status
    begins: datetime


class Place(NamedTuple):
    """What is asked about: a version, and one instance of it where that matters for the cohorts."""

    version: str
    instance: str = ""


class Step(NamedTuple):
    """A moment at which other patches come to be in force.

    `at` is None for what is due already and waits only for somebody to do it: no clock says when.
    """

    at: datetime | None
    stack: tuple[messages.Patch, ...]
    # What happened to each patch that came or went, in words.
    moved: Mapping[int, str]


def as_known(patch: Patch, status: Status, freezes: Iterable[Freeze], at: datetime) -> Known:
    """Return a patch as it was at an instant. `freezes` are those known then: they may hold it beyond its start."""
    start = patch.spec.window.start
    if status not in PLANNED:
        return Known(patch, status, start)
    binding = [one for one in freezes if freeze.exemption_of(one, patch) is None]
    return Known(patch, status, freeze.free_from(binding, max(start, at)))


def in_stream(known: Iterable[Known], place: Place, at: datetime) -> tuple[messages.Patch, ...]:
    """Return what the stream's patches put in force at an instant, in fold order."""
    held = _admitted([one for one in known if one.status in IN_STREAM], place)
    return tuple(patch for patch in held if layers.is_open(patch, at.timestamp()))


def planned(known: Sequence[Known], place: Place, at: datetime) -> tuple[messages.Patch, ...]:
    """Return what will be in force at an instant if all goes as planned: nothing halts, nobody intervenes."""
    return _planned(known, _admitted(known, place), at)


def ahead(known: Sequence[Known], place: Place, stack: Sequence[messages.Patch], at: datetime) -> list[Step]:
    """Return every step from what is in force at an instant to what is planned after it, in order of time."""
    here = _admitted(known, place)
    edges = sorted({edge for one in known for edge in _edges(one) if edge > at})
    stacks = [tuple(stack), *(_planned(known, here, edge) for edge in (at, *edges))]
    steps = zip((None, *edges), pairwise(stacks), strict=True)
    return [Step(edge, after, _moved(known, before, after, edge or at)) for edge, (before, after) in steps]


def as_carried(patch: Patch) -> messages.Patch:
    """Return a patch as its stream carries it to the sidecars."""
    spec = patch.spec
    return messages.Patch(
        id=patch.id,
        tenant=spec.tenant,
        service=spec.service,
        selector=spec.version_selector,
        changes=dict(spec.changes),
        start=spec.window.start.timestamp(),
        end=None if spec.window.end is None else spec.window.end.timestamp(),
        expires=None,
        priority=spec.priority,
        order=patch.approval_order or 0,
        admit_below=wire.ADMIT_ALL,
        envelope=dict(patch.decision or {}),
    )


def _admitted(known: Iterable[Known], place: Place) -> list[messages.Patch]:
    return layers.admitted([as_carried(one.patch) for one in known], place.version, place.instance)


def _planned(known: Sequence[Known], here: Iterable[messages.Patch], at: datetime) -> tuple[messages.Patch, ...]:
    begun = {one.patch.id: one.patch for one in known if _begun(one, at)}
    gone = {number for patch in begun.values() for number in patch.spec.supersedes}
    staying = begun.keys() - gone
    return tuple(patch for patch in here if patch.id in staying and layers.is_open(patch, at.timestamp()))


def _begun(one: Known, at: datetime) -> bool:
    if one.status in GOING_ON:
        return True
    return one.status in PLANNED and one.begins <= at and not one.patch.spec.window.over(one.begins)


def _edges(one: Known) -> list[datetime]:
    end = one.patch.spec.window.end
    return [one.begins] if end is None else [one.begins, end]


def _moved(
    known: Sequence[Known], before: Sequence[messages.Patch], after: Sequence[messages.Patch], at: datetime
) -> dict[int, str]:
    was, now = {patch.id for patch in before}, {patch.id for patch in after}
    words = {number: f"patch/{number} starts" for number in now - was}
    return words | {one.patch.id: _gone(one, known, at) for one in known if one.patch.id in was - now}


def _gone(one: Known, known: Sequence[Known], at: datetime) -> str:
    mine = f"patch/{one.patch.id}"
    if one.patch.spec.window.over(at):
        return f"{mine} ends"
    by = [other.patch.id for other in known if one.patch.id in other.patch.spec.supersedes and _begun(other, at)]
    return f"{mine} is superseded by patch/{by[0]}" if by else f"{mine} is halted and goes back"
