"""What happened: the events of each patch, and the audit of every change and every denial."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import chain
from hms_mgt.domain.access import Actor
from hms_mgt.store.tables import patch_event


class Act(NamedTuple):
    """Who did what to what, for the audit. `tenant` is None where no single tenant is concerned.

    `before` and `after` hold what changed of the subject, and so much of it that the audit alone tells the story.
    """

    tenant: str | None
    actor: str
    action: str
    subject: str
    detail: Mapping[str, Any] = {}
    request_id: str | None = None
    role: str | None = None
    # Where it came from: an address, `local`, or None for what the platform does by itself.
    source: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    decision_id: str | None = None


def act_of(actor: Actor, tenant: str | None, action: str, subject: str, **more: Any) -> Act:
    """Return what an actor did: who, by which request, from where. `more` are further fields of `Act`."""
    return Act(
        tenant, actor.name, action, subject, request_id=actor.request_id, role=actor.role, source=actor.source, **more
    )


class Event(NamedTuple):
    """One step in a patch's life."""

    at: datetime
    from_status: str | None
    to_status: str
    actor: str
    detail: str


# Under this name a connection keeps what is to be appended to the audit at the end of its transaction.
PENDING = "hms.audit"


async def audit_act(tx: AsyncConnection, act: Act, now: datetime) -> None:
    """Have one audit row appended, in the transaction of the act itself: `Database.transaction` does it at its end."""
    tx.info[PENDING].append(_row(act, now))


def _row(act: Act, now: datetime) -> dict[str, Any]:
    """Return an act as a row that the database can hold, whatever words a caller put into it."""
    given = {**act._asdict(), "at": now}
    values = {name: chain.plain_value(given[name]) for name in chain.JSON_COLUMNS}
    words = {name: chain.plain(value) for name, value in given.items() if isinstance(value, str)}
    return {**given, **values, **words}


async def add_event(tx: AsyncConnection, tenant: str, patch_id: int, event: Event) -> None:
    """Append one event of a patch."""
    await tx.execute(insert(patch_event), {"tenant": tenant, "patch_id": patch_id, **event._asdict()})


async def events(tx: AsyncConnection, patch_id: int) -> list[Event]:
    """Return a patch's events, oldest first."""
    query = select(patch_event).where(patch_event.c.patch_id == patch_id).order_by(patch_event.c.id)
    return [_event(row) for row in await tx.execute(query)]


def _event(row: Row[Any]) -> Event:
    return Event(row.at, row.from_status, row.to_status, row.actor, row.detail)
