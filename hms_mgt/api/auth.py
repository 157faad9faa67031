"""Finds out who calls, by bearer token. Tokens are known by their hash only."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission, Role
from hms_mgt.errors import Unauthenticated
from hms_mgt.parts import Parts
from hms_mgt.secret import digest
from hms_mgt.store import tokens
from hms_mgt.store.database import EVERY_TENANT

_bearer = HTTPBearer(auto_error=False, description="A service token: `hms_...`")


def parts_of(request: Request) -> Parts:
    """Return the application's parts."""
    parts: Parts = request.app.state.parts
    return parts


PartsOf = Annotated[Parts, Depends(parts_of)]


async def caller(
    request: Request,
    parts: PartsOf,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Actor:
    """Return who calls.

    Raises:
        Unauthenticated: without a token, or with one that is unknown or revoked.
    """
    if credentials is None:
        raise Unauthenticated("send a token: Authorization: Bearer hms_...")
    async with parts.db.transaction(EVERY_TENANT) as tx:
        found = await tokens.find(tx, digest(credentials.credentials))
    if found is None:
        raise Unauthenticated("this token is unknown or was revoked")
    actor = Actor(found.name, Role(found.role), found.tenant)
    # For the audit, should this request be denied further on.
    request.state.actor = actor
    return actor


Caller = Annotated[Actor, Depends(caller)]


async def reader(actor: Caller) -> Actor:
    """Return who calls, who may read."""
    access.require(actor, Permission.READ)
    return actor


Reader = Annotated[Actor, Depends(reader)]
