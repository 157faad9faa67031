"""Periodic duties of the whole control plane, and the wake-up calls between its processes."""

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.store.tables import duty

# One channel wakes every worker loop. A notification is only a hint: each loop also looks by itself.
CHANNEL = "hms_work"


async def take(tx: AsyncConnection, name: str, every: timedelta, now: datetime) -> bool:
    """Take a duty that is due and set when it is due next. Of several replicas exactly one gets True.

    An instant further ahead than `every` was set by a clock that is wrong: the duty is due.
    """
    due = (duty.c.due_at <= now) | (duty.c.due_at > now + every)
    first = upsert(duty).values(name=name, due_at=now + every)
    taken = first.on_conflict_do_update(index_elements=["name"], set_={"due_at": now + every}, where=due).returning(
        duty.c.name
    )
    return (await tx.execute(taken)).one_or_none() is not None


_WAKE = select(func.pg_notify(CHANNEL, ""))


async def wake(tx: AsyncConnection) -> None:
    """Wake the workers when this transaction commits."""
    await tx.execute(_WAKE)
