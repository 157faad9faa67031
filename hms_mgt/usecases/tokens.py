"""Service tokens: made by operators on the machine itself, seen and revoked by them and by administrators."""

from datetime import datetime

from sqlalchemy.exc import IntegrityError

from hms_mgt.domain import access
from hms_mgt.domain.access import OPERATOR, Actor, Permission, Role
from hms_mgt.domain.service_token import expiry_problems, name_problems, scope_problems
from hms_mgt.domain.window import rfc3339
from hms_mgt.errors import Conflict, Invalid, NotFound, Problem
from hms_mgt.store import catalog, tokens, trail
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.store.tokens import KnownToken, StoredToken


async def register_token(db: Database, digest: str, what: StoredToken, now: datetime) -> None:
    """Store a token by its hash.

    Raises:
        Invalid: its name, its tenant for its role, or its end cannot be, or the tenant is unknown.
        Conflict: another token has this name.
    """
    problems = name_problems(what.name) + scope_problems(Role(what.role), what.tenant)
    problems += expiry_problems(what.expires_at, now)
    if problems:
        raise Invalid.of(problems)
    after = {"role": what.role, "tenant": what.tenant, "expires_at": _shown(what.expires_at)}
    try:
        async with db.transaction(EVERY_TENANT) as tx:
            if what.tenant is not None and not await catalog.tenant_exists(tx, what.tenant):
                raise Invalid.of([Problem("/tenant", f"unknown tenant {what.tenant}")])
            await tokens.add(tx, digest, what, now)
            act = trail.act_of(OPERATOR, what.tenant, "token.created", f"token/{what.name}", after=after)
            await trail.audit_act(tx, act, now)
    except IntegrityError as error:
        raise Conflict(f"a token named {what.name} exists already") from error


async def revoke_token(db: Database, actor: Actor, name: str, now: datetime) -> KnownToken:
    """Revoke a token by its name; within seconds whoever holds it is not known anywhere. Twice is once.

    Raises:
        Forbidden: the role may not revoke tokens.
        NotFound: there is no token of this name in the actor's scope.
    """
    access.require(actor, Permission.MANAGE_TOKENS)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await tokens.get(tx, name)
        if found is None:
            raise NotFound(f"there is no token named {name}")
        if found.revoked_at is not None:
            return found
        await tokens.revoke(tx, name, now)
        before, after = {"role": found.role, "revoked_at": None}, {"role": found.role, "revoked_at": rfc3339(now)}
        act = trail.act_of(actor, found.tenant, "token.revoked", f"token/{name}", before=before, after=after)
        await trail.audit_act(tx, act, now)
        return found._replace(revoked_at=now)


async def list_tokens(db: Database, actor: Actor, tenant: str | None, after: str, limit: int) -> list[KnownToken]:
    """Return the tokens in the actor's scope behind a name, by name.

    Raises:
        Forbidden: the role may not see tokens.
    """
    access.require(actor, Permission.MANAGE_TOKENS)
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        return await tokens.page(tx, tenant, after, limit)


def _shown(instant: datetime | None) -> str | None:
    return None if instant is None else rfc3339(instant)
