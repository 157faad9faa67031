"""A tenant's quota: how much its deployments may ask for together, at every moment of a patch's window."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from hms_mgt.domain.deployment import Deployment, wanted_resources
from hms_mgt.domain.patch import Patch
from hms_mgt.domain.window import rfc3339


class Quota(NamedTuple):
    """Upper bounds for all of a tenant's deployments together; `None` is no bound."""

    replicas: int | None = None


def exceeded(bounds: Quota, patch: Patch, deployments: Sequence[Deployment], others: Sequence[Patch]) -> str | None:
    """Say in words when and by how much `patch` would exceed the quota, or return `None` when it fits.

    `others` are the tenant's patches in force or to come. The fold changes only where a window begins or ends, so
    looking at those instants inside the patch's window is looking at all of it.
    """
    if bounds.replicas is None or "replicas" not in patch.spec.changes:
        return None
    # It would be the last to be approved.
    last = max((one.approval_order or 0 for one in others), default=0) + 1
    together = [*others, patch._replace(approval_order=last)]
    for instant in _edges(patch, others):
        total = sum(wanted_resources(one, together, instant).replicas for one in deployments)
        if total > bounds.replicas:
            over = f"over the quota of {bounds.replicas} for tenant {patch.spec.tenant}"
            return f"replicas would come to {total} at {rfc3339(instant)}, {over}"
    return None


def _edges(patch: Patch, others: Sequence[Patch]) -> list[datetime]:
    """Return the instants at which the fold may change while the patch holds, the first one first."""
    mine = patch.spec.window
    edges = {mine.start}
    for window in (one.spec.window for one in others):
        edges |= {edge for edge in window if edge is not None and mine.started(edge) and not mine.over(edge)}
    return sorted(edges)
