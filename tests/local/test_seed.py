"""What a first start puts into the database, killed at any step of it and started again."""

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from nacl.signing import SigningKey

from hms_mgt.domain.access import OPERATOR, Role
from hms_mgt.local.seed import DEFAULT_TENANT, DEMO_TENANT, seed
from hms_mgt.secret import digest
from hms_mgt.signer import Signer
from hms_mgt.store import tokens
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.tokens import revoke_token

from .killed import run

_SEED = """
from datetime import UTC, datetime
from nacl.signing import SigningKey
from hms_mgt.local.seed import seed
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
where, name, nth, url, data = sys.argv[1:]
die_after(where, name, int(nth))
asyncio.run(seed(Database(url, Signer(SigningKey(bytes(32)))), Path(data), demo=True, now=datetime.now(UTC)))
"""
SIGNER = Signer(SigningKey(bytes(32)))
_OF_A_TENANT = {"release_manager", "viewer", "approver"}


def start(url: str, data: Path, *, demo: bool = True) -> dict[str, str]:
    """Seed as a start does."""
    data.mkdir(exist_ok=True)

    async def act() -> dict[str, str]:
        db = Database(url, SIGNER)
        try:
            return await seed(db, data, demo=demo, now=datetime.now(UTC))
        finally:
            await db.close()

    return asyncio.run(act())


def scopes(url: str, made: dict[str, str]) -> dict[str, tuple[str, str | None]]:
    """Ask the database what each token is good for."""

    async def act() -> dict[str, tuple[str, str | None]]:
        db = Database(url, None)
        async with db.transaction(EVERY_TENANT) as tx:
            found = {name: await tokens.find(tx, digest(token)) for name, token in made.items()}
        await db.close()
        assert all(found.values()), found
        return {name: (one.role, one.tenant) for name, one in found.items() if one}

    return asyncio.run(act())


def expected(tenant: str) -> dict[str, tuple[str, str | None]]:
    return {role.value: (role.value, tenant if role.value in _OF_A_TENANT else None) for role in Role}


_POINTS = [
    ("hms_mgt.local.seed", "register_tenant", 1),
    ("hms_mgt.local.seed", "register_deployment", 1),
    *(("hms_mgt.local.seed", "write_durably", nth) for nth in (1, 2, 3)),
    *(("hms_mgt.local.seed", "register_token", nth) for nth in range(1, len(Role) + 2)),
]


@pytest.mark.parametrize(("where", "name", "nth"), _POINTS)
def test_a_first_start_killed_anywhere_is_taken_up_by_the_next(
    database: str, tmp_path: Path, where: str, name: str, nth: int
) -> None:
    assert run(_SEED, where, name, nth, database, tmp_path)
    made = start(database, tmp_path)
    assert scopes(database, made) == expected(DEMO_TENANT)
    assert json.loads((tmp_path / "tokens.json").read_text()) == made
    sidecars = {"sidecars": (tmp_path / "agents" / "IACB.token").read_text()}
    assert scopes(database, sidecars) == {"sidecars": ("viewer", DEMO_TENANT)}
    with psycopg.connect(database) as sql:
        assert sql.execute("SELECT count(*) FROM deployment").fetchone() == (1,)
    assert start(database, tmp_path) == made


def test_a_database_that_knows_the_names_already_gets_tokens_of_other_names(database: str, tmp_path: Path) -> None:
    first, second = (start(database, tmp_path / name) for name in ("a", "b"))
    assert not {*first.values()} & {*second.values()}
    assert scopes(database, first) == scopes(database, second) == expected(DEMO_TENANT)
    assert start(database, tmp_path / "b") == second


def test_without_demo_no_token_that_changes_anything_is_for_every_tenant(database: str, tmp_path: Path) -> None:
    assert scopes(database, start(database, tmp_path, demo=False)) == expected(DEFAULT_TENANT)
    with psycopg.connect(database) as sql:
        assert sql.execute("SELECT tenant, replicas FROM quota").fetchall() == [(DEFAULT_TENANT, None)]
        assert sql.execute("SELECT count(*) FROM deployment").fetchone() == (0,)


def test_with_demo_after_without_the_tokens_are_for_the_demos_tenant_and_the_old_ones_stay_good(
    database: str, tmp_path: Path
) -> None:
    plain = start(database, tmp_path, demo=False)
    demo = start(database, tmp_path, demo=True)
    assert scopes(database, demo) == expected(DEMO_TENANT)
    assert scopes(database, plain) == expected(DEFAULT_TENANT)
    assert {role for role in plain if plain[role] != demo[role]} == _OF_A_TENANT


def test_a_token_that_was_revoked_is_replaced(database: str, tmp_path: Path) -> None:
    before = start(database, tmp_path)

    async def revoke() -> None:
        db = Database(database, SIGNER)
        await revoke_token(db, OPERATOR, "viewer", datetime.now(UTC))
        await db.close()

    asyncio.run(revoke())
    after = start(database, tmp_path)
    assert scopes(database, after) == expected(DEMO_TENANT)
    assert {role for role in after if before[role] != after[role]} == {"viewer"}
    assert start(database, tmp_path) == after
