"""What a tenant's deployments ask for over time: a sweep over the instants at which a window begins or ends."""

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import sub
from typing import Any, NamedTuple, TypeAlias

from hms_mgt.domain import quantity
from hms_mgt.domain.deployment import Deployment, fold_place, touches_resources
from hms_mgt.domain.patch import Patch, PatchSpec
from hms_mgt.domain.window import Window
from hms_svc.selector import Version, parse_selector

# Priority, then where among the patches of that priority.
_Place: TypeAlias = tuple[int, bool, int, int]
_BASE: _Place = (-1, False, 0, 0)


class Totals(NamedTuple):
    """What deployments ask for together; `cpu` and `memory` in millionths, of those that say."""

    replicas: int = 0
    cpu: int = 0
    memory: int = 0

    def shown(self) -> dict[str, int | str]:
        """Write the amounts as people do."""
        return {"replicas": self.replicas, "cpu": quantity.cpu(self.cpu), "memory": quantity.memory(self.memory)}


class _Asked(NamedTuple):
    """What one configuration or one patch says about one instance; None where it does not."""

    replicas: int | None
    cpu: int | None
    memory: int | None


class _Layer(NamedTuple):
    """What one patch says, where in the fold, when, and for which of the deployments, by index."""

    place: _Place
    window: Window
    asked: _Asked
    selected: tuple[int, ...]


def profile(
    deployments: Sequence[Deployment], patches: Sequence[Patch], window: Window, new: PatchSpec | None = None
) -> list[tuple[datetime, Totals]]:
    """Return what a tenant's deployments ask for together inside the window: from each instant until the next one.

    The instants are the window's start and every edge of a patch's window in it, whatever those patches ask for, so
    that a profile with a new patch and one without it go side by side. The new patch comes last of its priority.
    """
    steps = _steps(_layers(deployments, patches, window, new), window.start)
    stacks = [_Stack(one) for one in deployments]
    total, found = _sum(stack.share for stack in stacks), []
    for instant in _edges(window, [one.spec.window for one in patches]):
        changed = set[int]()
        for layer, begins in steps.get(instant, ()):
            for index in layer.selected:
                stacks[index].put(layer, begins=begins)
            changed.update(layer.selected)
        for index in changed:
            total = _sum((total, stacks[index].refold()))
        found.append((instant, total))
    return found


class _Stack:
    """One deployment's base with the patches that hold there at the moment: of each resource, who says how much."""

    def __init__(self, deployment: Deployment) -> None:
        base = _asked({"replicas": 1, **deployment.base})
        # In fold order: the last one counts.
        self._said: list[list[tuple[_Place, int]]] = [[(_BASE, amount or 0)] for amount in base]
        self.share = self._fold()

    def put(self, layer: _Layer, *, begins: bool) -> None:
        """Put a patch in its place, or take it out."""
        for said, amount in zip(self._said, layer.asked, strict=True):
            if amount is not None and begins:
                insort(said, (layer.place, amount))
            elif amount is not None:
                del said[bisect_left(said, (layer.place, amount))]

    def refold(self) -> Totals:
        """Bring the deployment's share up to date. Returns by how much it changed."""
        before, self.share = self.share, self._fold()
        return Totals(*map(sub, self.share, before))

    def _fold(self) -> Totals:
        replicas, cpu, memory = (said[-1][1] for said in self._said)
        return Totals(replicas, replicas * cpu, replicas * memory)


def _sum(totals: Iterable[Totals]) -> Totals:
    return Totals(*map(sum, zip(*totals, strict=True)))


def _asked(document: Mapping[str, Any]) -> _Asked:
    cpu, memory = document.get("cpu"), document.get("memory")
    return _Asked(
        document.get("replicas"),
        None if cpu is None else quantity.parse(cpu),
        None if memory is None else quantity.parse(memory),
    )


def _layers(
    deployments: Sequence[Deployment], patches: Sequence[Patch], window: Window, new: PatchSpec | None
) -> list[_Layer]:
    """Return the layers of those patches that ask for resources inside the window."""
    ends = _superseded(patches, new)
    placed = [(fold_place(one), one.spec, _cut(one.spec.window, ends.get(one.id))) for one in patches]
    if new is not None:
        # Behind those that wait for approval, too.
        placed.append(((new.priority, True, 1, 0), new, new.window))
    asking = [
        (place, spec, held)
        for place, spec, held in placed
        if touches_resources(spec.changes) and held is not None and held.meets(window)
    ]
    selected = _selected(deployments, {(spec.service, spec.version_selector) for _, spec, _ in asking})
    return [
        _Layer(place, held, _asked(spec.changes), selected[spec.service, spec.version_selector])
        for place, spec, held in asking
    ]


def _superseded(patches: Sequence[Patch], new: PatchSpec | None) -> dict[int, datetime]:
    """Return by its id when a patch ends because one that supersedes it begins.

    The new one counts as approved. Those that wait for approval do not: they may come to nothing, as does what the
    new one itself supersedes.
    """
    gone = () if new is None else new.supersedes
    following = [one.spec for one in patches if one.approval_order is not None and one.id not in gone]
    starts = [(old, spec.window.start) for spec in [*following, *([new] if new else [])] for old in spec.supersedes]
    # The earliest counts: it is set last.
    return dict(sorted(starts, key=lambda pair: pair[1], reverse=True))


def _cut(window: Window, end: datetime | None) -> Window | None:
    if end is None or window.over(end):
        return window
    return Window(window.start, end) if window.start < end else None


def _selected(
    deployments: Sequence[Deployment], asked: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, ...]]:
    """Return which deployments each pair of a service and a selector means, by index. Many patches share one pair."""
    there = [(index, one.service, Version.parse(one.version)) for index, one in enumerate(deployments)]
    found = {}
    for service, text in asked:
        admits = parse_selector(text).admits
        found[service, text] = tuple(index for index, name, version in there if name == service and admits(version))
    return found


def _steps(layers: Iterable[_Layer], start: datetime) -> dict[datetime, list[tuple[_Layer, bool]]]:
    """Return what begins (True) and ends (False) at each instant; what holds at the start already begins there."""
    found = defaultdict(list)
    for layer in layers:
        found[max(layer.window.start, start)].append((layer, True))
        if layer.window.end is not None:
            found[layer.window.end].append((layer, False))
    return found


def _edges(window: Window, windows: Iterable[Window]) -> list[datetime]:
    inside = {edge for one in windows for edge in one if edge and window.started(edge) and not window.over(edge)}
    return sorted(inside | {window.start})
