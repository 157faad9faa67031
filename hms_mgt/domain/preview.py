"""What a patch would do: for each version the configuration before and after, and which instances it would reach."""

import difflib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import yaml

from hms_mgt.domain import plan
from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.patch import Patch, PatchSpec, Status
from hms_mgt.domain.plan import Known, Place
from hms_mgt.domain.rollout import Instance
from hms_mgt.errors import pointer
from hms_svc import layers, merge, messages, selector

# In place of an id and of a place in the order: later than all there are.
_NEW = 2**63 - 1


class Change(NamedTuple):
    """One value that would change; `None` where there is none before or after, as `op` tells: add, remove, replace."""

    op: str
    path: str
    pointer: str
    before: Any
    after: Any


class Effect(NamedTuple):
    """What would change for every instance of one version."""

    version: str
    # Whether the version is catalogued: otherwise its base is not known here, and taken for empty.
    base_known: bool
    before: dict[str, Any]
    after: dict[str, Any]
    changes: tuple[Change, ...]
    # The same for people: a unified diff of the YAML.
    diff: str
    # Knobs of the patch that something of a higher place in the fold decides.
    shadowed: tuple[str, ...]


class Reach(NamedTuple):
    """One of the tenant's instances, and whether the patch would reach it; if not, why."""

    instance: str
    service: str
    version: str
    hit: bool
    reason: str


def reach(spec: PatchSpec, instances: Iterable[Instance]) -> list[Reach]:
    """Tell of each of the tenant's instances whether the patch is for it."""
    wanted = selector.parse_selector(spec.version_selector)
    return [_reach(spec, wanted, one) for one in instances]


def _reach(spec: PatchSpec, wanted: selector.Selector, one: Instance) -> Reach:
    reason = ""
    if one.service != spec.service:
        reason = f"service: it runs {one.service}, not {spec.service}"
    elif not wanted.matches(one.version):
        reason = f"version: {one.version} does not match {spec.version_selector}"
    return Reach(one.id, one.service, one.version, not reason, reason)


def effects(
    spec: PatchSpec, versions: Iterable[str], deployments: Sequence[Deployment], known: Sequence[Known], at: datetime
) -> list[Effect]:
    """Return what the patch would do at `at`, if all goes as planned, to each of the versions that it selects.

    And to those that it does not select, where what it supersedes ends there. `known` are the service's patches.
    """
    wanted = selector.parse_selector(spec.version_selector)
    catalogued = {one.version: one for one in deployments if (one.tenant, one.service) == (spec.tenant, spec.service)}
    with_new = [*known, Known(as_approved(spec, at), Status.APPROVED, at)]
    found = []
    for version in sorted(set(versions), key=selector.Version.parse):
        place = Place(version)
        stacks = plan.planned(known, place, at), plan.planned(with_new, place, at)
        effect = _effect(spec, version, catalogued.get(version), *stacks)
        if wanted.matches(version) or effect.changes:
            found.append(effect)
    return found


def _effect(
    spec: PatchSpec,
    version: str,
    known: Deployment | None,
    now: Sequence[messages.Patch],
    then: Sequence[messages.Patch],
) -> Effect:
    base = {} if known is None else dict(known.base)
    before, after = layers.fold(base, now), layers.fold(base, then)
    changes = tuple(differences(before, after))
    return Effect(
        version, known is not None, before, after, changes, _diff(before, after), _shadowed(spec, _above(then))
    )


def as_approved(spec: PatchSpec, at: datetime) -> Patch:
    """Return the patch as it would stand: the last to be approved, in force from `at` on."""
    started = spec._replace(window=spec.window._replace(start=min(at, spec.window.start)))
    return Patch(
        id=_NEW,
        spec=started,
        status=Status.APPROVED,
        status_reason="",
        author="",
        author_role="",
        created_at=at,
        updated_at=at,
        attempts=0,
        approval_order=_NEW,
        decision=None,
        decision_summary=None,
        rollout_started_at=None,
        ending=None,
    )


def _above(stack: Sequence[messages.Patch]) -> list[messages.Patch]:
    """Return what decides over the new patch; nothing where it is not in the stack."""
    ids = [patch.id for patch in stack]
    return list(stack[ids.index(_NEW) + 1 :]) if _NEW in ids else []


def _shadowed(spec: PatchSpec, above: Sequence[messages.Patch]) -> tuple[str, ...]:
    mine = set(merge.leaves(merge.expand(spec.changes)))
    theirs = {path for layer in above for path in merge.leaves(merge.expand(layer.changes))}
    hidden = {path for path in mine if any(path[:length] in theirs for length in range(1, len(path) + 1))}
    return tuple(sorted(map(merge.dotted, hidden)))


def differences(before: Any, after: Any) -> list[Change]:
    """Return the values that differ, leaf by leaf, in the order of their paths."""
    old, new = _leaves(before), _leaves(after)
    found = []
    for path in sorted(old.keys() | new.keys()):
        if path in old and path in new and merge.same(old[path], new[path]):
            continue
        op = "replace" if path in old and path in new else "remove" if path in old else "add"
        found.append(Change(op, merge.dotted(path), pointer(*path), old.get(path), new.get(path)))
    return found


def _leaves(document: Any) -> dict[tuple[str, ...], Any]:
    found = {}
    for path in merge.leaves(document):
        value = document
        for name in path:
            value = value[name]
        if path:
            found[path] = value
    return found


def _diff(before: Any, after: Any) -> str:
    return "".join(difflib.unified_diff(_lines(before), _lines(after), "conf.yml before", "conf.yml after"))


def _lines(document: Any) -> list[str]:
    return yaml.safe_dump(document, sort_keys=True, allow_unicode=True).splitlines(keepends=True)
