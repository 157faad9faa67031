"""Bearer tokens, stored as hashes only."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.store.tables import token


class StoredToken(NamedTuple):
    """What is known of a token that was presented. `tenant` is None for every tenant."""

    name: str
    role: str
    tenant: str | None


async def add(tx: AsyncConnection, digest: str, what: StoredToken, now: datetime) -> None:
    """Store a token by its hash."""
    await tx.execute(insert(token), {"hash": digest, **what._asdict(), "created_at": now})


async def find(tx: AsyncConnection, digest: str) -> StoredToken | None:
    """Find the token with this hash, unless it was revoked."""
    query = select(token).where(token.c.hash == digest, token.c.revoked_at.is_(None))
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else StoredToken(row.name, row.role, row.tenant)


async def revoke(tx: AsyncConnection, name: str, now: datetime) -> StoredToken | None:
    """Make a token good for nothing from now on. Returns None when none of this name is good."""
    mine = (token.c.name == name) & token.c.revoked_at.is_(None)
    statement = update(token).where(mine).values(revoked_at=now).returning(token.c.name, token.c.role, token.c.tenant)
    row = (await tx.execute(statement)).one_or_none()
    return None if row is None else StoredToken(row.name, row.role, row.tenant)
