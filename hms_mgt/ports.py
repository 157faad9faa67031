"""What the control plane needs from outside, as Protocols. `bootstrap` decides what stands behind each."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from hms_mgt.domain.deployment import Deployment, Resources


class Clock(Protocol):
    """Tells the time, so that tests can."""

    def now(self) -> datetime:
        """Return the present instant, timezone-aware, in UTC."""
        ...


class Verdict(NamedTuple):
    """GOV's answer about one patch: the signed envelope and what it says.

    An evaluation is unsigned: its envelope is empty and its decision has no id, so nothing can be approved with it.
    """

    envelope: Mapping[str, Any]
    decision_id: str
    allowed: bool
    reasons: tuple[str, ...]
    policy_revision: str
    # What GOV asks for besides, such as approvals; empty when nothing.
    obligations: tuple[Any, ...] = ()
    # When the decision ends, epoch seconds; None when it stands as long as its window.
    expires: float | None = None


class Governance(Protocol):
    """The governance service."""

    async def decide(self, facts: Mapping[str, Any]) -> Verdict:
        """Ask for a signed verdict on one patch.

        Raises:
            Unavailable: when GOV does not answer, or its answer does not verify.
        """
        ...

    async def evaluate(self, facts: Mapping[str, Any]) -> Verdict:
        """Ask what the verdict on a patch would be, for a dry run. `facts["patch_id"]` may be 0: there is none yet.

        Raises:
            Unavailable: when GOV does not answer, or its answer cannot be read.
        """
        ...


class AckEntry(NamedTuple):
    """One entry of a tenant's acknowledgement stream. The tenant comes from the stream's name."""

    tenant: str
    entry_id: str
    body: bytes


class Bus(Protocol):
    """The broker between the control plane and the sidecars. At most once, never trusted."""

    async def publish(self, tenant: str, message: str) -> None:
        """Send one signed message on the tenant's channel."""
        ...

    async def put_snapshot(self, tenant: str, service: str, snapshot: str) -> None:
        """Replace the stream's stored snapshot."""
        ...

    async def snapshots(self, streams: Sequence[tuple[str, str]]) -> list[str | None]:
        """Read the stored snapshots of (tenant, service) pairs, `None` where there is none."""
        ...

    async def read_acks(self, cursors: Mapping[str, str], block_ms: int) -> list[AckEntry]:
        """Wait up to `block_ms` for reports behind each tenant's cursor, the id of the last entry taken in."""
        ...

    async def trim_acks(self, tenant: str, up_to: str) -> None:
        """Drop the reports that were taken in."""
        ...

    async def drop_acks(self, tenant: str) -> None:
        """Drop all of a tenant's reports and let their ids begin anew."""
        ...


class Orchestrator(Protocol):
    """Carries out resource knobs: how many instances run, with what resources."""

    async def scale(self, deployment: Deployment, wanted: Resources) -> int:
        """Move one step towards the wanted resources. Returns how many instances run now."""
        ...

    def gone(self, deployment: Deployment, names: Sequence[str]) -> list[str]:
        """Return which of these instances it once ran and runs no longer."""
        ...
