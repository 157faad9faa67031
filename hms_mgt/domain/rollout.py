"""Decides how far a patch has come, from what the instances reported. Only confirmed effect counts."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from hms_mgt.domain.patch import Patch, Status
from hms_svc import selector

# An instance from which nothing came for this long is shown STALE.
STALE_AFTER = timedelta(seconds=30)
_TROUBLE_SHOWN = 200


class InstanceStatus(StrEnum):
    """How an instance is shown."""

    LIVE = "LIVE"
    STALE = "STALE"
    GONE = "GONE"


class Instance(NamedTuple):
    """One sidecar with its served process, as it last reported."""

    id: str
    tenant: str
    service: str
    version: str
    url: str | None
    revision: int
    active: tuple[int, ...]
    # Whether the digest it reported is the one its layers fold to.
    digest_ok: bool
    failed: tuple[Mapping[str, Any], ...]
    refused: Mapping[str, int]
    # Where its files are, in one word, why they cannot be as wanted, and the keys that people edited by hand.
    phase: str
    trouble: str
    drift: tuple[str, ...]
    stale: bool
    last_seen: datetime
    gone_at: datetime | None

    def status(self, now: datetime) -> InstanceStatus:
        """Tell how the instance is shown at `now`."""
        if self.gone_at is not None:
            return InstanceStatus.GONE
        if self.stale or now - self.last_seen > STALE_AFTER:
            return InstanceStatus.STALE
        return InstanceStatus.LIVE


class Replicas(NamedTuple):
    """What the orchestrator was asked for and what runs, over the deployments a patch selects."""

    wanted: int
    running: int


class Progress(NamedTuple):
    """How far a patch is among the instances it is for."""

    targeted: tuple[str, ...]
    effective: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]
    overdue: tuple[str, ...]
    # Those that run with the patch by their own last word, confirmed or not.
    holding: tuple[str, ...]
    replicas: Replicas | None
    # Why an instance cannot go on, in its own words, where no patch is to blame.
    troubled: Mapping[str, str] = {}


def targets(patch: Patch, instances: Sequence[Instance]) -> list[Instance]:
    """Return the instances the patch is for: not gone, and not dark since before its rollout began."""
    heard_since = None if patch.rollout_started_at is None else patch.rollout_started_at - STALE_AFTER
    wanted = selector.parse_selector(patch.spec.version_selector)
    return [
        instance
        for instance in instances
        if (instance.tenant, instance.service) == (patch.spec.tenant, patch.spec.service)
        and instance.gone_at is None
        and (heard_since is None or instance.last_seen >= heard_since)
        and wanted.matches(instance.version)
    ]


def progress(patch: Patch, instances: Sequence[Instance], replicas: Replicas | None, now: datetime) -> Progress:
    """Count what the targeted instances confirmed. `overdue` names those that do not report any more."""
    aimed = targets(patch, instances)
    return Progress(
        targeted=tuple(instance.id for instance in aimed),
        effective=tuple(i.id for i in aimed if patch.id in i.active and i.digest_ok),
        failed=tuple((i.id, _words(entry)) for i in aimed for entry in i.failed if entry["patch_id"] == patch.id),
        overdue=tuple(i.id for i in aimed if i.status(now) is InstanceStatus.STALE),
        holding=tuple(holding(patch, instances)),
        replicas=replicas,
        troubled={i.id: i.trouble for i in aimed if i.trouble},
    )


def _words(entry: Mapping[str, Any]) -> str:
    return f"{entry['stage']}: {entry['detail']}"


def halt_reason(seen: Progress, started: datetime | None, now: datetime, deadline: timedelta) -> str | None:
    """Say why no new instance may take the patch, or return `None` while all is well."""
    if seen.failed:
        instance, words = seen.failed[0]
        return f"instance {instance} failed at {words}"
    if started is None or now - started <= deadline or not seen.targeted or applied(seen):
        return None
    return f"not in effect within {int(deadline.total_seconds())} s: waiting for {_missing(seen)}"


def applied(seen: Progress) -> bool:
    """Tell whether every targeted instance confirmed the effect, and as many run and confirmed as the fold asks."""
    return (
        _scaled(seen.replicas)
        and len(seen.effective) >= (1 if seen.replicas is None else seen.replicas.wanted)
        and set(seen.effective) == set(seen.targeted)
    )


def _scaled(replicas: Replicas | None) -> bool:
    return replicas is None or replicas.wanted == replicas.running


def reverted(patch: Patch, instances: Sequence[Instance], replicas: Replicas | None) -> bool:
    """Tell whether no instance that may still run holds the patch, and the replicas are back."""
    return _scaled(replicas) and not holding(patch, instances)


def waiting_for(patch: Patch, seen: Progress) -> str:
    """Say in words what keeps a patch from its next state, or from being everywhere; empty when nothing does."""
    if patch.status is Status.REVERTING:
        late = [f"{name} (overdue)" if name in seen.overdue else name for name in seen.holding]
        return f"{_some(late)} to go back" if late else _scaling(seen)
    if patch.status not in {Status.ROLLING_OUT, Status.APPLIED}:
        return ""
    return _missing(seen) if seen.targeted else "a live instance that matches the version selector"


def _missing(seen: Progress) -> str:
    missing = [_explained(name, seen) for name in seen.targeted if name not in seen.effective]
    return f"{_some(missing)} to confirm" if missing else _scaling(seen)


def _explained(name: str, seen: Progress) -> str:
    words = seen.troubled.get(name, "")[:_TROUBLE_SHOWN]
    return f"{name} ({words})" if words else name


def _scaling(seen: Progress) -> str:
    if seen.replicas is None or _scaled(seen.replicas):
        return ""
    return f"the orchestrator: {seen.replicas.running} run, {seen.replicas.wanted} are wanted"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def holding(patch: Patch, instances: Sequence[Instance]) -> list[str]:
    """Name the instances that still run with the patch."""
    return [instance.id for instance in targets(patch, instances) if patch.id in instance.active]
