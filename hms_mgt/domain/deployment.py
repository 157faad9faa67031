"""A deployment: one version of a service running for a tenant, and the resources it wants.

The resource knobs come from the same fold as the sidecars' configuration, so they end with their patch.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from hms_mgt.domain.patch import Patch
from hms_svc import merge, selector

RESOURCE_KNOBS = ("replicas", "cpu", "memory")
# Which of them each orchestrator carries out.
CARRIES: Mapping[str, frozenset[str]] = {"local": frozenset({"replicas"})}


class Resources(NamedTuple):
    """What an orchestrator is asked for. `cpu` and `memory` are Kubernetes quantities, e.g. `500m`, `1Gi`."""

    replicas: int
    cpu: str | None = None
    memory: str | None = None


class Deployment(NamedTuple):
    """One service version for one tenant, with its base configuration."""

    tenant: str
    service: str
    version: str
    # The text of conf.yml as a new instance finds it, comments and all.
    conf: str
    base: Mapping[str, Any]
    # Which orchestrator carries out the resource knobs; None where nobody does.
    orchestrator: str | None
    running: int | None = None
    wanted: int | None = None


def touches_resources(changes: Mapping[str, Any]) -> bool:
    """Tell whether these changes ask an orchestrator for anything."""
    return any(knob in changes for knob in RESOURCE_KNOBS)


def carried_out_by_nobody(patch: Patch, deployments: Iterable[Deployment]) -> list[str]:
    """Return the resource knobs of a patch that some deployment it selects has nobody to carry out for."""
    asked = [knob for knob in RESOURCE_KNOBS if knob in patch.spec.changes]
    selected = [one for one in deployments if selects(patch, one)]
    return [knob for knob in asked if any(knob not in CARRIES.get(one.orchestrator or "", ()) for one in selected)]


def applicable(deployment: Deployment, patches: Iterable[Patch], now: datetime) -> list[Patch]:
    """Return those of the patches whose windows and selectors make them hold here at `now`, in fold order."""
    here = [
        patch
        for patch in patches
        if patch.spec.window.started(now) and not patch.spec.window.over(now) and selects(patch, deployment)
    ]
    return sorted(here, key=fold_place)


def fold_place(patch: Patch) -> tuple[int, bool, int, int]:
    """Return where a patch stands in the fold: by priority, then as approved; who waits for approval comes after."""
    order = patch.approval_order
    return patch.spec.priority, order is None, order or 0, patch.id


def selects(patch: Patch, deployment: Deployment) -> bool:
    """Tell whether the patch is for this tenant, service and version."""
    spec = patch.spec
    same = (spec.tenant, spec.service) == (deployment.tenant, deployment.service)
    return same and selector.parse_selector(spec.version_selector).matches(deployment.version)


def wanted_resources(deployment: Deployment, patches: Iterable[Patch], now: datetime) -> Resources:
    """Fold the resource knobs: base, then every applicable patch."""
    document: Any = deployment.base
    for patch in applicable(deployment, patches, now):
        document = merge.merge(document, merge.expand(dict(patch.spec.changes)))
    return Resources(int(document.get("replicas", 1)), document.get("cpu"), document.get("memory"))
