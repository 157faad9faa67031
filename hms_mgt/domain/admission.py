"""Holds a new patch against everything that stands: what it may not touch, what it may not exceed, when it may begin.

A submission and a dry run take the very same look; the one stops at the first refusal, the other shows them all.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from hms_mgt.domain import conflict, freeze, quota
from hms_mgt.domain.access import Role
from hms_mgt.domain.conflict import Overlap
from hms_mgt.domain.deployment import Deployment, touches_resources
from hms_mgt.domain.freeze import Freeze
from hms_mgt.domain.patch import STANDING, Patch, PatchSpec
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.window import Window, rfc3339
from hms_mgt.errors import Conflict, Frozen, HmsError, Invalid, PatchConflict, Problem, QuotaExceeded, pointer


class Scene(NamedTuple):
    """What a new patch meets, all of its tenant."""

    # Of the patch's service: those that are catalogued, and those that its instances run.
    versions: frozenset[str]
    # The standing patches of its service that may be in its way.
    rivals: Sequence[Patch]
    # The patches it names under `supersedes`, so far as there are such.
    superseded: Sequence[Patch]
    # All deployments of the tenant and the standing patches that count for its quota, where that is counted.
    deployments: Sequence[Deployment]
    counting: Sequence[Patch]
    bounds: Quota
    freezes: Sequence[Freeze]
    # At its start, or now where that is past.
    begins: datetime


def refusals(spec: PatchSpec, scene: Scene, role: Role) -> list[HmsError]:
    """Return every reason why the patch may not be taken in, the plainest first."""
    found = [
        _supersedes_wrongly(spec, scene),
        _over_a_cap(spec, scene),
        _frozen(spec, scene, role),
        _in_the_way(spec, scene),
        _over_the_quota(spec, scene),
    ]
    return [error for error in found if error is not None]


def exemption(spec: PatchSpec, scene: Scene, role: Role) -> str | None:
    """Say why the freezes at the patch's start do not hold it, or return `None` where there is none or one does."""
    met = [one for one in scene.freezes if one.holds(scene.begins)]
    words = [freeze.exemption(one, role, spec.break_glass) for one in met]
    return next(iter(words), None) if all(words) else None


def _supersedes_wrongly(spec: PatchSpec, scene: Scene) -> HmsError | None:
    here = {one.id: one for one in scene.superseded if _same_service(spec, one)}
    unknown = [number for number in spec.supersedes if number not in here]
    if unknown:
        where = f"{spec.service} of tenant {spec.tenant}"
        return Invalid.of([Problem("/supersedes", f"there is no patch {unknown[0]} for {where}")])
    ended = next((one for one in here.values() if one.status not in STANDING), None)
    if ended is None:
        return None
    words = f"patch {ended.id} is {ended.status}: there is nothing left to supersede"
    return Conflict(words, [Problem("/supersedes", words)])


def _same_service(spec: PatchSpec, other: Patch) -> bool:
    return (spec.tenant, spec.service) == (other.spec.tenant, other.spec.service)


def _over_a_cap(spec: PatchSpec, scene: Scene) -> HmsError | None:
    found = quota.over_caps(scene.bounds, spec.changes)
    return Invalid.of(found) if found else None


def _frozen(spec: PatchSpec, scene: Scene, role: Role) -> HmsError | None:
    binding = freeze.binding(scene.freezes, role, spec.break_glass)
    one = freeze.holding(binding, scene.begins)
    if one is None:
        return None
    free_from = rfc3339(freeze.free_from(binding, scene.begins))
    words = f"freeze {one.id} is on until {rfc3339(one.ends_at)} ({one.reason}); the first free start is {free_from}"
    named = {"id": one.id, "tenant": one.tenant, "ends_at": rfc3339(one.ends_at), "reason": one.reason}
    return Frozen(words, [Problem("/window/start", words)], {"freeze": named, "free_from": free_from})


def _in_the_way(spec: PatchSpec, scene: Scene) -> HmsError | None:
    found = conflict.overlaps(spec, scene.rivals, scene.versions)
    if not found:
        return None
    free = conflict.next_free(spec, scene.rivals, scene.versions)
    # The name at the top is the patch's own; what both touch may lie deeper than where it stands.
    problems = [Problem(pointer("changes", one.knobs[0].split(".")[0]), _words(one)) for one in found]
    hint = "give another window or priority, or say that it supersedes"
    slot = "no slot is free" if free is None else f"the next free slot begins at {rfc3339(free.start)}"
    facts = {"conflicts": [shown(one) for one in found], "next_free": None if free is None else window_shown(free)}
    return PatchConflict(f"{_words(found[0])}; {slot}; {hint}", problems, facts)


def _words(one: Overlap) -> str:
    until = "for good" if one.end is None else f"to {rfc3339(one.end)}"
    return f"patch {one.patch_id} sets {', '.join(one.knobs)}, too, from {rfc3339(one.start)} {until}"


def shown(one: Overlap) -> dict[str, object]:
    """Show an overlap to a program."""
    overlap = window_shown(Window(one.start, one.end))
    return {
        "patch_id": one.patch_id,
        "knobs": list(one.knobs),
        "versions": list(one.versions),
        "overlap": overlap,
    }


def window_shown(window: Window) -> dict[str, str | None]:
    """Show a window to a program."""
    return {"start": rfc3339(window.start), "end": None if window.end is None else rfc3339(window.end)}


def _over_the_quota(spec: PatchSpec, scene: Scene) -> HmsError | None:
    found = quota.exceeded(scene.bounds, spec, scene.deployments, scene.counting)
    if found is None:
        return None
    words = found.words(spec.tenant)
    return QuotaExceeded(words, [Problem(_asking(spec, found.resource), words)], {"excess": found.facts()})


def _asking(spec: PatchSpec, resource: str) -> str:
    """Point to what asks for more: not the resource itself where more replicas need more of it, or others ask less."""
    if resource in spec.changes:
        return pointer("changes", resource)
    return "/changes" if touches_resources(spec.changes) else "/supersedes"
