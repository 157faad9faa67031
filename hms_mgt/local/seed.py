"""What `up` puts into a fresh database: tokens, and with `--demo` the tenant IACB with its service."""

import json
import os
from datetime import datetime
from importlib.resources import files
from pathlib import Path

from hms_mgt.domain.access import Role
from hms_mgt.domain.quota import Quota
from hms_mgt.secret import digest, new_token
from hms_mgt.store import tokens
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.register import NewDeployment, register_deployment, register_tenant, register_token

DEMO_TENANT = "IACB"
DEMO_SERVICE = "ARTIST_REGISTRY_API"
DEMO_VERSION = "2.1.0"
DEMO_QUOTA = Quota(replicas=12)
# These work for one tenant; the others look after the whole platform.
_OF_A_TENANT = (Role.RELEASE_MANAGER, Role.VIEWER, Role.APPROVER)


async def seed_demo(db: Database, now: datetime) -> None:
    """Register the demo's tenant and service; on a second start nothing changes."""
    if await register_tenant(db, DEMO_TENANT, DEMO_QUOTA, now):
        conf = (files("hms_mgt.demo") / "files" / "conf.yml").read_text()
        new = NewDeployment(DEMO_TENANT, DEMO_SERVICE, DEMO_VERSION, conf, "local")
        await register_deployment(db, new, now)


async def role_tokens(db: Database, kept: Path, tenant: str | None, now: datetime) -> dict[str, str]:
    """Return one token for each role, the same at every start."""
    named = {role.value: (role, tenant if role in _OF_A_TENANT else None) for role in Role}
    return await _ensure(db, kept, named, now)


async def agent_token(db: Database, data: Path, tenant: str, now: datetime) -> None:
    """Make the token with which the tenant's sidecars may ask MGT for snapshots, where Redis has none."""
    kept = data / "agents" / f"{tenant}.json"
    made = await _ensure(db, kept, {f"sidecars-{tenant}": (Role.VIEWER, tenant)}, now)
    _write_private(data / "agents" / f"{tenant}.token", made[f"sidecars-{tenant}"])


async def _ensure(db: Database, kept: Path, named: dict[str, tuple[Role, str | None]], now: datetime) -> dict[str, str]:
    """Read tokens back from a private file; make and store those that the database does not know."""
    found = _read_private(kept)
    for name, (role, tenant) in named.items():
        token = found.setdefault(name, new_token())
        async with db.transaction(EVERY_TENANT) as tx:
            known = await tokens.find(tx, digest(token))
        if known is None:
            await register_token(db, digest(token), tokens.StoredToken(name, role, tenant), now)
    _write_private(kept, json.dumps(found, indent=1))
    return found


def _read_private(path: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    return found


def _write_private(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
