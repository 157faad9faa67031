"""The events of all patches in one order that can be followed without missing one or getting one twice.

Ids are drawn before their transactions commit, so a lower one may show up after a higher one. The order here is by the
transaction that wrote an event, then by id, and only settled events are read: those whose transaction is older than
every one that still runs. Nothing can show up in front of them any more. A transaction that runs long holds the rest
back; it loses nothing.
"""

from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Row, Text, cast, exists, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.patch import TERMINAL
from hms_mgt.store.tables import patch, patch_event
from hms_mgt.store.trail import Event

# The oldest transaction that still runs.
_RUNNING = cast(cast(func.pg_snapshot_xmin(func.pg_current_snapshot()), Text), BigInteger)


class Place(NamedTuple):
    """A place in the order: right behind the event with this id that this transaction wrote."""

    tx: int
    id: int


BEGINNING = Place(0, 0)


class Wanted(NamedTuple):
    """Which events are followed; `None` narrows nothing."""

    patch_id: int | None = None
    tenant: str | None = None
    service: str | None = None

    def takes(self, event: "PlacedEvent") -> bool:
        """Tell whether the event is one of them."""
        its = (event.patch_id, event.tenant, event.service)
        return all(asked in {None, one} for asked, one in zip(self, its, strict=True))


class PlacedEvent(NamedTuple):
    """One step in a patch's life, and its place in the order."""

    place: Place
    patch_id: int
    tenant: str
    service: str
    step: Event


async def end(tx: AsyncConnection) -> Place:
    """Return the place behind everything that has settled."""
    return Place((await tx.execute(select(_RUNNING))).scalar_one(), 0)


async def after(tx: AsyncConnection, place: Place, wanted: Wanted, limit: int) -> list[PlacedEvent]:
    """Return the next settled events behind a place."""
    query = select(patch_event, patch.c.service).join(patch, patch.c.id == patch_event.c.patch_id)
    query = query.where(_position() > _at(place), patch_event.c.tx < _RUNNING)
    if wanted.patch_id is not None:
        query = query.where(patch_event.c.patch_id == wanted.patch_id)
    if wanted.tenant is not None:
        query = query.where(patch_event.c.tenant == wanted.tenant)
    if wanted.service is not None:
        query = query.where(patch.c.service == wanted.service)
    ordered = query.order_by(patch_event.c.tx, patch_event.c.id).limit(limit)
    return [_placed(row) for row in await tx.execute(ordered)]


async def settling(tx: AsyncConnection) -> bool:
    """Tell whether there are events that have not settled yet."""
    return bool((await tx.execute(select(exists().where(patch_event.c.tx >= _RUNNING)))).scalar_one())


async def ended(tx: AsyncConnection, patch_id: int, place: Place) -> bool:
    """Tell whether a patch's last event, the one that ended it, is at this place or before it."""
    last = (patch_event.c.patch_id == patch_id) & patch_event.c.to_status.in_(TERMINAL)
    query = select(exists().where(last, _position() <= _at(place), patch_event.c.tx < _RUNNING))
    return bool((await tx.execute(query)).scalar_one())


def _position() -> ColumnElement[Any]:
    return tuple_(patch_event.c.tx, patch_event.c.id)


def _at(place: Place) -> ColumnElement[Any]:
    return tuple_(literal(place.tx, BigInteger), literal(place.id, BigInteger))


def _placed(row: Row[Any]) -> PlacedEvent:
    step = Event(row.at, row.from_status, row.to_status, row.actor, row.detail)
    return PlacedEvent(Place(row.tx, row.id), row.patch_id, row.tenant, row.service, step)
