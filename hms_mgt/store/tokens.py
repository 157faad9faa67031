"""Bearer tokens, stored as hashes only."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Row, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.store.tables import token

_USED_TO_THE = timedelta(minutes=1)


class StoredToken(NamedTuple):
    """What a token is made for. `tenant` is None for every tenant, `expires_at` for no end."""

    name: str
    role: str
    tenant: str | None
    expires_at: datetime | None = None


class KnownToken(NamedTuple):
    """Everything that is known of a token. The hash stays in the database."""

    name: str
    role: str
    tenant: str | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


_COLUMNS = [token.c[name] for name in KnownToken._fields]


async def add(tx: AsyncConnection, digest: str, what: StoredToken, now: datetime) -> None:
    """Store a token by its hash."""
    await tx.execute(insert(token), {"hash": digest, **what._asdict(), "created_at": now})


async def find(tx: AsyncConnection, digest: str) -> KnownToken | None:
    """Find the token with this hash, unless it was revoked. It may be over."""
    query = select(*_COLUMNS).where(token.c.hash == digest, token.c.revoked_at.is_(None))
    return _known((await tx.execute(query)).one_or_none())


async def get(tx: AsyncConnection, name: str) -> KnownToken | None:
    """Return the token of this name, locked."""
    query = select(*_COLUMNS).where(token.c.name == name).with_for_update()
    return _known((await tx.execute(query)).one_or_none())


async def page(tx: AsyncConnection, tenant: str | None, after: str, limit: int) -> list[KnownToken]:
    """Return the tokens in scope behind a name, by name, of one tenant when asked."""
    query = select(*_COLUMNS).where(token.c.name > after).order_by(token.c.name).limit(limit)
    if tenant is not None:
        query = query.where(token.c.tenant == tenant)
    return [KnownToken._make(row) for row in await tx.execute(query)]


async def revoke(tx: AsyncConnection, name: str, now: datetime) -> None:
    """Make a token good for nothing from now on."""
    await tx.execute(update(token).where(token.c.name == name).values(revoked_at=now))


async def touch(tx: AsyncConnection, name: str, now: datetime) -> None:
    """Note that a token was used, unless that was noted within the minute."""
    stale = or_(token.c.last_used_at.is_(None), token.c.last_used_at <= now - _USED_TO_THE)
    await tx.execute(update(token).where(token.c.name == name, stale).values(last_used_at=now))


def noted(one: KnownToken, now: datetime) -> bool:
    """Tell whether the use of a token was noted within the minute."""
    return one.last_used_at is not None and one.last_used_at > now - _USED_TO_THE


def _known(row: Row[Any] | None) -> KnownToken | None:
    return None if row is None else KnownToken._make(row)
