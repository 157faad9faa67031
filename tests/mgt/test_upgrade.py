"""A database of the release before: brought up with all it holds, used by both releases side by side, and back."""

import asyncio

import psycopg
import pytest
from alembic import command

from hms_mgt.store import migrate
from hms_mgt.store.trail import Act
from tests.mgt.history import act, findings, opened

# What the release before writes, in its words.
OLD = (
    "INSERT INTO tenant (id, created_at) VALUES ('{tenant}', now())",
    "INSERT INTO quota (tenant, replicas) VALUES ('{tenant}', 12)",
    (
        "INSERT INTO deployment (tenant, service, version, conf, base, created_at)"
        " VALUES ('{tenant}', 'API', '2.1.0', 'a: 1', '{{\"a\": 1}}', now())"
    ),
    (
        "INSERT INTO token (hash, name, role, tenant, created_at)"
        " VALUES ('h-{tenant}', 'ada@{tenant}', 'viewer', '{tenant}', now())"
    ),
    "UPDATE token SET revoked_at = now() WHERE name = 'ada@{tenant}' RETURNING role",
    (
        "INSERT INTO patch (tenant, service, version_selector, changes, window_start, priority, reason, status, author,"
        " author_role, created_at, updated_at, idempotency_key, body_digest, next_attempt_at)"
        " VALUES ('{tenant}', 'API', '*', '{{\"a\": 2}}', now(), 100, '', 'QUEUED', 'ada', 'release_manager',"
        " now(), now(), 'key-{tenant}', '', now())"
    ),
    (
        "INSERT INTO patch_event (tenant, patch_id, at, from_status, to_status, actor, detail)"
        " SELECT tenant, id, now(), NULL, 'QUEUED', 'ada', '' FROM patch WHERE tenant = '{tenant}'"
    ),
    (
        "INSERT INTO audit (tenant, at, actor, action, subject, detail, request_id)"
        " VALUES ('{tenant}', now(), 'ada', 'patch.queued', 'patch/1',"
        " CAST('{{\"b\": 1, \"a\": [1.50]}}' AS jsonb), 'r')"
    ),
)


@pytest.fixture
def aged(postgres: str) -> str:
    """A database as the release before left it."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS aged")
        connection.execute("CREATE DATABASE aged")
    url = postgres.replace("/postgres?", "/aged?")
    command.upgrade(migrate.config(url), "0001")
    old_release_writes(url, "IACB")
    return url


def old_release_writes(url: str, tenant: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SELECT set_config('role', 'hms_app', true), set_config('hms.tenant', '*', true)")
        for statement in OLD:
            connection.execute(statement.format(tenant=tenant).encode())


def new_release_acts(url: str, tenant: str) -> None:
    async def scene() -> None:
        db = opened(url)
        await act(db, Act(tenant, "ada", "patch.applied", "patch/1"))
        await db.close()

    asyncio.run(scene())


def test_what_is_there_is_kept_and_vouched_for_by_what_comes(aged: str) -> None:
    migrate.upgrade(aged)
    with psycopg.connect(aged) as connection:
        bases = connection.execute("SELECT tenant, service, version, conf FROM deployment_base").fetchall()
        bounds = connection.execute("SELECT replicas, cpu, memory, knobs FROM quota").fetchall()
        patch = connection.execute("SELECT supersedes, break_glass, obligations FROM patch").fetchall()
    assert bases == [("IACB", "API", "2.1.0", "a: 1")]
    assert bounds == [(12, None, None, {})]
    assert patch == [([], False, [])]
    new_release_acts(aged, "IACB")
    assert asyncio.run(findings(aged)) == []


def test_the_release_before_goes_on_beside_this_one_and_its_rows_of_the_audit_are_named(aged: str) -> None:
    migrate.upgrade(aged)
    new_release_acts(aged, "IACB")
    old_release_writes(aged, "VA")
    new_release_acts(aged, "VA")
    assert asyncio.run(findings(aged)) == [], "a chain begins behind what was written before it"
    with psycopg.connect(aged) as connection:
        connection.execute("SELECT set_config('role', 'hms_app', true), set_config('hms.tenant', '*', true)")
        connection.execute(OLD[-1].format(tenant="IACB").encode())
    (found,) = asyncio.run(findings(aged))
    assert (found.kind, found.chain) == ("unchained", "IACB")


def test_back_and_up_again_loses_no_row_of_the_audit(aged: str) -> None:
    migrate.upgrade(aged)
    new_release_acts(aged, "IACB")
    command.downgrade(migrate.config(aged), "0001")
    old_release_writes(aged, "VA")
    migrate.upgrade(aged)
    command.check(migrate.config(aged))
    with psycopg.connect(aged) as connection:
        actions = connection.execute("SELECT tenant, action FROM audit ORDER BY id").fetchall()
    assert actions == [("IACB", "patch.queued"), ("IACB", "patch.applied"), ("VA", "patch.queued")]
    for tenant in ("IACB", "VA"):
        new_release_acts(aged, tenant)
    assert asyncio.run(findings(aged)) == []
