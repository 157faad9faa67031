"""A tenant's quota: how much its deployments may ask for together."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from hms_mgt.domain.deployment import Deployment, Resources, selects
from hms_mgt.domain.patch import Patch


class Quota(NamedTuple):
    """Upper bounds for all of a tenant's deployments together; `None` is no bound."""

    replicas: int | None = None


def exceeded(quota: Quota, patch: Patch, wanted: Sequence[tuple[Deployment, Resources]]) -> str | None:
    """Say in words how `patch` would exceed the tenant's quota, or return `None` when it fits.

    `wanted` pairs each of the tenant's deployments with what it folds to without this patch.
    """
    asked: Any = patch.spec.changes.get("replicas")
    if quota.replicas is None or asked is None:
        return None
    total = sum(asked if selects(patch, deployment) else now.replicas for deployment, now in wanted)
    if total <= quota.replicas:
        return None
    return f"replicas would come to {total}, over the quota of {quota.replicas} for tenant {patch.spec.tenant}"
