"""Finds out who calls, by bearer token: a service token, or a JWT of an issuer that the operator trusts."""

from typing import Annotated, NoReturn

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from sqlalchemy.exc import SQLAlchemyError

from hms_mgt.api.problems import path_of
from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.identity import Stranger
from hms_mgt.errors import Forbidden, Unauthenticated, Unavailable
from hms_mgt.parts import Parts
from hms_mgt.store import trail
from hms_mgt.store.database import EVERY_TENANT

_bearer = HTTPBearer(auto_error=False, description="A service token (`hms_...`), or a JWT of a trusted issuer")


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
        Unauthenticated: without a token, or with one that is not good.
        Forbidden: the issuer's word is good, and nobody gave this subject a role.
        RateLimited: too many requests.
        Unavailable: what it takes to know the caller does not answer.
    """
    source = request.client.host if request.client else "unknown"
    who = await _authenticated(request, parts, source, credentials)
    if isinstance(who, Stranger):
        await _turn_away(request, parts, source, who)
    parts.limits.request(who)
    actor = who._replace(source=source, request_id=request.state.request_id)
    # For the audit, should this request be denied further on.
    request.state.actor = actor
    return actor


Caller = Annotated[Actor, Depends(caller)]


async def _authenticated(
    request: Request, parts: Parts, source: str, credentials: HTTPAuthorizationCredentials | None
) -> Actor | Stranger:
    """Return whose credential it is, and count it against the address where it is nobody's."""
    try:
        return await _known(request, parts, source, credentials)
    except Unauthenticated:
        parts.limits.failure(source)
        raise


async def _known(
    request: Request, parts: Parts, source: str, credentials: HTTPAuthorizationCredentials | None
) -> Actor | Stranger:
    """Look a credential up. One that was good before is not held up by what others try from the same address."""
    # Of two, a proxy before us may have looked at the other.
    if len(request.headers.getlist("Authorization")) > 1:
        raise Unauthenticated("send one Authorization header")
    if credentials is None:
        raise Unauthenticated("send a token: Authorization: Bearer hms_...")
    if parts.authenticator.is_guess(credentials.credentials):
        parts.limits.guess(source)
    return await parts.authenticator.who(credentials.credentials)


async def _turn_away(request: Request, parts: Parts, source: str, who: Stranger) -> NoReturn:
    """Refuse somebody who is known and has no role here, on record."""
    parts.limits.stranger(who)
    words = f"{who.name} has no role here: no binding of its issuer matches this token"
    subject = f"{request.method} {path_of(request)}"
    act = trail.Act(None, who.name, "denied", subject, {"reason": words}, request.state.request_id, source=source)
    try:
        async with parts.db.transaction(EVERY_TENANT) as tx:
            await trail.audit_act(tx, act, parts.clock.now())
    except SQLAlchemyError as error:
        raise Unavailable("this cannot be answered now: the audit takes nothing") from error
    raise Forbidden(words)


async def still_good(request: Request, actor: Actor) -> bool:
    """Tell whether the credential that a long answer began with is still good, and for the same as then.

    Where that cannot be found out it is not: the caller comes again and is told why.
    """
    _, credential = get_authorization_scheme_param(request.headers.get("Authorization"))
    try:
        who = await parts_of(request).authenticator.who(credential)
    except (Unauthenticated, Unavailable):
        return False
    return isinstance(who, Actor) and (who.name, who.role, who.tenant) == (actor.name, actor.role, actor.tenant)


async def reader(actor: Caller) -> Actor:
    """Return who calls, who may read."""
    access.require(actor, Permission.READ)
    return actor


Reader = Annotated[Actor, Depends(reader)]
