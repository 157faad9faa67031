"""What happened: the events of each patch, and the audit of every change and every denial."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.store.tables import audit, patch_event


class Act(NamedTuple):
    """Who did what to what, for the audit. `tenant` is None where no single tenant is concerned."""

    tenant: str | None
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any]
    request_id: str | None = None


class Event(NamedTuple):
    """One step in a patch's life."""

    at: datetime
    from_status: str | None
    to_status: str
    actor: str
    detail: str


async def audit_act(tx: AsyncConnection, act: Act, now: datetime) -> None:
    """Append one audit row, in the transaction of the act itself."""
    await tx.execute(insert(audit), {**act._asdict(), "at": now})


async def add_event(tx: AsyncConnection, tenant: str, patch_id: int, event: Event) -> None:
    """Append one event of a patch."""
    await tx.execute(insert(patch_event), {"tenant": tenant, "patch_id": patch_id, **event._asdict()})


async def events(tx: AsyncConnection, patch_id: int) -> list[Event]:
    """Return a patch's events, oldest first."""
    query = select(patch_event).where(patch_event.c.patch_id == patch_id).order_by(patch_event.c.id)
    return [_event(row) for row in await tx.execute(query)]


def _event(row: Row[Any]) -> Event:
    return Event(row.at, row.from_status, row.to_status, row.actor, row.detail)
