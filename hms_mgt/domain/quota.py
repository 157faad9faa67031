"""A tenant's quota: how much its deployments may ask for together, at every moment of a patch's window."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt.domain import quantity
from hms_mgt.domain.deployment import Deployment, touches_resources
from hms_mgt.domain.patch import Patch, PatchSpec
from hms_mgt.domain.profile import Totals, profile
from hms_mgt.domain.window import Window, rfc3339
from hms_mgt.errors import Problem, pointer
from hms_svc import merge

_READ: Mapping[str, Callable[[Any], int]] = {"replicas": int, "cpu": quantity.parse, "memory": quantity.parse}
_SHOW: Mapping[str, Callable[[int], str]] = {"replicas": str, "cpu": quantity.cpu, "memory": quantity.memory}


class Quota(NamedTuple):
    """Upper bounds: of all of a tenant's deployments together, and of single knobs. `None` is no bound."""

    replicas: int | None = None
    cpu: str | None = None
    memory: str | None = None
    # By dotted path: the most that one patch may set it to.
    knobs: Mapping[str, float | int] = {}
    # Which of the bounds, by resource or `knobs.` and path, are the platform's and not the tenant's own.
    platform: frozenset[str] = frozenset()

    def bounds(self) -> dict[str, Any]:
        """Return the bounds alone."""
        return {"replicas": self.replicas, "cpu": self.cpu, "memory": self.memory, "knobs": dict(self.knobs)}

    @property
    def version(self) -> str:
        """Return a short name of these very bounds, by which a change of them is noticed."""
        return merge.digest(self.bounds())[:16]


class Excess(NamedTuple):
    """The first instant at which a bound is exceeded, and by how much; the amounts as people write them."""

    resource: str
    at: datetime
    wanted: str
    bound: str
    over: str
    # `quota` for the tenant's own, `platform cap` for the one above it.
    whose: str = "quota"

    def words(self, tenant: str) -> str:
        """Say it in a sentence."""
        bound = f"the {self.whose} of {self.bound} for tenant {tenant}"
        return f"{self.resource} would come to {self.wanted} at {rfc3339(self.at)}, {self.over} over {bound}"

    def facts(self) -> dict[str, str]:
        """Say it to a program."""
        return {**self._asdict(), "at": rfc3339(self.at)}


def beyond(bounds: Quota, cap: Quota) -> list[Problem]:
    """Return a problem for each bound that is wider than the platform cap allows."""
    mine, above = _flat(bounds), _flat(cap)
    return [
        Problem(_pointer(name), f"Exceeds the platform cap: at most {above[name]}")
        for name in mine
        if name in above and _amount(name, mine[name]) > _amount(name, above[name])
    ]


def tightest(tenant: Quota, platform: Quota) -> Quota:
    """Return what holds for a tenant: of each bound the lower one, the tenant's own where both are the same."""
    mine, above = _flat(tenant), _flat(platform)
    tighter = {
        name for name, cap in above.items() if name not in mine or _amount(name, cap) < _amount(name, mine[name])
    }
    held = mine | {name: above[name] for name in tighter}
    knobs = {name.removeprefix("knobs."): value for name, value in held.items() if name.startswith("knobs.")}
    return Quota(held.get("replicas"), held.get("cpu"), held.get("memory"), knobs, frozenset(tighter))


def over_caps(bounds: Quota, changes: Mapping[str, Any]) -> list[Problem]:
    """Return a problem for each knob that the changes set to more than its cap, or to what is no number at all.

    Taking a capped knob away is no excess.
    """
    found, expanded = [], merge.expand(changes)
    for path in merge.leaves(expanded):
        name = merge.dotted(path)
        cap, value = bounds.knobs.get(name), _at(expanded, path)
        if cap is not None and value is not None and not _within(name, value, cap):
            whose = "platform cap" if f"knobs.{name}" in bounds.platform else "tenant's cap"
            found.append(Problem("/changes" + pointer(*path), f"Exceeds the {whose}: {name} may be at most {cap}"))
    return found


def exceeded(
    bounds: Quota, spec: PatchSpec, deployments: Sequence[Deployment], others: Sequence[Patch]
) -> Excess | None:
    """Return when and by how much a new patch would exceed the quota first, or `None` when it fits.

    `deployments` and `others` are all of the tenant's: what runs, and the patches in force or to come. A patch is
    refused only for what it makes worse: one that asks for less passes where too much is used already. What it
    supersedes may have asked for less than there is without it.
    """
    limits = {name: read(text) for name, read in _READ.items() if (text := getattr(bounds, name)) is not None}
    if not touches_resources(spec.changes) and not spec.supersedes:
        return None
    together = profile(deployments, others, spec.window, spec)
    if not any(getattr(totals, name) > most for _, totals in together for name, most in limits.items()):
        return None
    alone = profile(deployments, others, spec.window)
    for (instant, without), (_, totals) in zip(alone, together, strict=True):
        for name, most in limits.items():
            wanted = getattr(totals, name)
            if wanted > max(most, getattr(without, name)):
                return _excess(bounds, name, instant, wanted)
    return None


def _excess(bounds: Quota, name: str, instant: datetime, wanted: int) -> Excess:
    bound, show = getattr(bounds, name), _SHOW[name]
    whose = "platform cap" if name in bounds.platform else "quota"
    return Excess(name, instant, show(wanted), str(bound), show(wanted - _READ[name](bound)), whose)


def usage(
    deployments: Sequence[Deployment], patches: Sequence[Patch], window: Window, new: PatchSpec | None = None
) -> list[tuple[datetime, Totals]]:
    """Return what a tenant's deployments ask for inside the window, from each instant on at which that changes."""
    found: list[tuple[datetime, Totals]] = []
    for instant, totals in profile(deployments, patches, window, new):
        if not found or found[-1][1] != totals:
            found.append((instant, totals))
    return found


def _pointer(name: str) -> str:
    knob = name.removeprefix("knobs.")
    return pointer(name) if knob == name else pointer("knobs", knob)


def _flat(bounds: Quota) -> dict[str, Any]:
    resources = {name: value for name, value in bounds.bounds().items() if name != "knobs" and value is not None}
    return resources | {f"knobs.{name}": cap for name, cap in bounds.knobs.items()}


def _amount(name: str, value: Any) -> Any:
    return _READ[name](value) if name in _READ else value


def _within(name: str, value: Any, cap: float) -> bool:
    if isinstance(value, bool):
        return False
    if name in {"cpu", "memory"} and quantity.is_quantity(value):
        return quantity.parse(value) <= cap * quantity.ONE
    return isinstance(value, int | float) and value <= cap


def _at(changes: Any, path: Sequence[str]) -> Any:
    for name in path:
        changes = changes[name]
    return changes
