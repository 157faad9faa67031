"""What `up` puts into a fresh database: a tenant and tokens, with `--demo` the tenant IACB with its service."""

import contextlib
import json
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TypeAlias

from hms_mgt.domain.access import Role
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Conflict
from hms_mgt.orchestrators.files import write_durably
from hms_mgt.secret import digest, new_token
from hms_mgt.store import catalog, tokens
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.register import NewDeployment, register_deployment, register_tenant
from hms_mgt.usecases.tokens import register_token

# Whom the tokens are for when nobody says otherwise.
DEFAULT_TENANT = "DEFAULT"
DEMO_TENANT = "IACB"
DEMO_SERVICE = "ARTIST_REGISTRY_API"
DEMO_VERSION = "2.1.0"
DEMO_QUOTA = Quota(replicas=12)
# These work for one tenant; the others look after the whole platform.
_OF_A_TENANT = (Role.RELEASE_MANAGER, Role.VIEWER, Role.APPROVER)
_PRIVATE = 0o600
_Scope: TypeAlias = tuple[Role, str | None]


async def seed(db: Database, data: Path, *, demo: bool, now: datetime) -> dict[str, str]:
    """Register the tenant there is at the start, with what it needs. Returns one token for each role.

    A second start changes nothing, and a start that was interrupted anywhere in here is taken up again.
    """
    tenant = DEMO_TENANT if demo else DEFAULT_TENANT
    await register_tenant(db, tenant, DEMO_QUOTA if demo else Quota(), now)
    if demo:
        await _demo_service(db, now)
    await _agent_token(db, data, tenant, now)
    named = {role.value: (role, tenant if role in _OF_A_TENANT else None) for role in Role}
    return await _ensure(db, data / "tokens.json", named, now)


async def _demo_service(db: Database, now: datetime) -> None:
    async with db.transaction(EVERY_TENANT) as tx:
        known = await catalog.deployments(tx, DEMO_TENANT, DEMO_SERVICE)
    if not known:
        conf = (files("hms_mgt.demo") / "files" / "conf.yml").read_text()
        new = NewDeployment(DEMO_TENANT, DEMO_SERVICE, DEMO_VERSION, conf, "local")
        await register_deployment(db, new, now)


async def _agent_token(db: Database, data: Path, tenant: str, now: datetime) -> None:
    """Make the token with which the tenant's sidecars may ask MGT for snapshots, where Redis has none."""
    agents = data / "agents"
    agents.mkdir(parents=True, exist_ok=True)
    name = f"sidecars-{tenant}"
    made = await _ensure(db, agents / f"{tenant}.json", {name: (Role.VIEWER, tenant)}, now)
    write_durably(agents / f"{tenant}.token", made[name], _PRIVATE)


async def _ensure(db: Database, kept: Path, named: dict[str, _Scope], now: datetime) -> dict[str, str]:
    """Read tokens back from a private file; make those that are missing or were for something else, and store them.

    The file comes before the database: what is in the file only is stored at the next start, while what is in the
    database only would be lost, for it keeps no more than a hash.
    """
    before = _read(kept)
    found = {name: await _fitting(db, before.get(name), scope) for name, scope in named.items()}
    if found != before:
        write_durably(kept, json.dumps(found, indent=1), _PRIVATE)
    for name, (role, tenant) in named.items():
        stored = await _stored(db, found[name])
        if stored is None and not await _register(db, found[name], tokens.StoredToken(name, role, tenant), now):
            others = {other: token for other, token in found.items() if other != name}
            write_durably(kept, json.dumps(others, indent=1), _PRIVATE)
            return await _ensure(db, kept, named, now)
    return found


def _read(kept: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    return found


async def _fitting(db: Database, token: str | None, scope: _Scope) -> str:
    """Return the token, or another one if there is none, or one for another role or tenant: then `--demo` differed."""
    if token is None:
        return new_token()
    stored = await _stored(db, token)
    return token if stored is None or (stored.role, stored.tenant) == scope else new_token()


async def _stored(db: Database, token: str) -> tokens.KnownToken | None:
    async with db.transaction(EVERY_TENANT) as tx:
        return await tokens.find(tx, digest(token))


async def _register(db: Database, token: str, what: tokens.StoredToken, now: datetime) -> bool:
    """Store a token, under a longer name where another one, of another data directory perhaps, has the short one.

    Returns False if it cannot be stored under any name: then it was revoked.
    """
    for name in (what.name, f"{what.name}-{digest(token)[:8]}"):
        with contextlib.suppress(Conflict):
            await register_token(db, digest(token), what._replace(name=name), now)
            return True
    return False
