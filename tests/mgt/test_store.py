"""What the database itself guarantees, whatever a query forgets: tenant scope, no deletion, a true schema."""

import asyncio
import socket

import psycopg
import pytest
from alembic import command
from psycopg import sql
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from hms_mgt.domain.patch import TRANSITIONS, Status
from hms_mgt.errors import Conflict, Unavailable
from hms_mgt.store import migrate, patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.store.tables import TENANT_TABLES, metadata
from hms_mgt.usecases.move import To, move
from hms_mgt.usecases.review import LEASE
from tests.mgt.conftest import Play, World


def test_every_table_with_a_tenant_column_is_under_forced_row_level_security(database: str) -> None:
    with_tenant = {name for name, table in metadata.tables.items() if "tenant" in table.c}
    assert with_tenant == set(TENANT_TABLES)
    with psycopg.connect(database) as connection:
        forced = connection.execute(
            "SELECT relname FROM pg_class WHERE relrowsecurity AND relforcerowsecurity AND relkind = 'r'"
        ).fetchall()
        role = connection.execute(
            "SELECT rolsuper, rolbypassrls, rolcanlogin FROM pg_roles WHERE rolname = 'hms_app'"
        ).fetchone()
    # The platform cap binds every tenant: each sees it, and only the platform sets it.
    assert {row[0] for row in forced} == {*TENANT_TABLES, "platform_cap"}
    assert role == (False, False, False)


def test_a_transaction_sees_and_writes_its_own_tenant_only(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        for tenant, count in (("IACB", 1), ("VA", 0), ("", 0), (EVERY_TENANT, 1)):
            async with world.db.transaction(tenant) as tx:
                assert (await tx.execute(text("SELECT count(*) FROM patch"))).scalar_one() == count
                assert (await tx.execute(text("SELECT current_user"))).scalar_one() == "hms_app"
        async with world.db.transaction("VA") as tx:
            changed = await tx.execute(text("UPDATE patch SET priority = 9"))
            assert changed.rowcount == 0
        with pytest.raises(Exception, match="row-level security"):
            async with world.db.transaction("VA") as tx:
                await tx.execute(text("INSERT INTO quota (tenant, replicas) VALUES ('IACB', 99)"))

    play(scene)


def test_the_scope_does_not_leak_to_the_next_user_of_a_pooled_connection(play: Play) -> None:
    async def scene(world: World) -> None:
        single = Database(world.url, None, pool_size=1)
        async with single.transaction("IACB"):
            pass
        async with single.engine.connect() as connection:
            found = await connection.execute(text("SELECT current_setting('hms.tenant', true), current_user"))
            assert found.one() == ("", "postgres")
        await single.close()

    play(scene)


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_the_application_deletes_nothing(database: str, table: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE hms_app")
        for verb in ("DELETE FROM {}", "TRUNCATE {}"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL(verb).format(sql.Identifier(table)))
            connection.rollback()
            connection.execute("SET ROLE hms_app")


@pytest.mark.parametrize("table", ["audit", "patch_event", "receipt", "stream_revision"])
def test_what_happened_cannot_be_changed(database: str, table: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE hms_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL("UPDATE {} SET tenant = 'VA'").format(sql.Identifier(table)))


def test_the_migrations_lead_to_the_tables_and_back(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS wandering")
        connection.execute("CREATE DATABASE wandering")
    url = postgres.replace("/postgres?", "/wandering?")
    migrate.upgrade(url)
    command.check(migrate.config(url))
    command.downgrade(migrate.config(url), "base")
    with psycopg.connect(url) as connection:
        left = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == [("alembic_version",)]
    migrate.upgrade(url)


def test_a_database_that_is_away_is_unavailable() -> None:
    async def scene() -> None:
        db = Database("postgresql://postgres@127.0.0.1:1/postgres", None)
        with pytest.raises(Unavailable):
            await db.ping()
        await db.close()

    asyncio.run(scene())


def test_a_database_that_accepts_and_says_nothing_is_unavailable_soon() -> None:
    async def scene(port: int) -> None:
        db = Database(f"postgresql://postgres@127.0.0.1:{port}/postgres", None)
        async with asyncio.timeout(12):
            with pytest.raises(Unavailable):
                await db.ping()
        await db.close()

    with socket.create_server(("127.0.0.1", 0)) as silent:
        asyncio.run(scene(silent.getsockname()[1]))


def test_what_a_statement_was_given_is_not_in_its_error(play: Play) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(Exception, match="invalid input syntax") as caught:
            async with world.db.transaction("IACB") as tx:
                await tx.execute(text("SELECT CAST(:secret AS integer) + 1").bindparams(secret="hunter2"))
        assert "parameters" not in str(caught.value) or "hidden" in str(caught.value)

    play(scene)


@pytest.mark.parametrize("state", ["55P03", "40P01", "40001", "57014", "53300", "53100", "57P01", "57P03", "08006"])
def test_a_database_in_trouble_is_unavailable(play: Play, state: str) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(Unavailable, match="the database"):
            async with world.db.transaction(EVERY_TENANT) as tx:
                await tx.execute(text(f"DO $$ BEGIN RAISE 'no' USING ERRCODE = '{state}'; END $$"))

    play(scene)


def test_a_statement_that_takes_too_long_is_unavailable(play: Play) -> None:
    async def scene(world: World) -> None:
        async def wait() -> None:
            async with world.db.transaction(EVERY_TENANT) as tx:
                await tx.execute(text("SET LOCAL statement_timeout = '20ms'"))
                await tx.execute(text("SELECT pg_sleep(5)"))

        with pytest.raises(Unavailable, match="busy"):
            await wait()

    play(scene)


def test_a_mistake_of_ours_is_no_trouble_of_the_database_whatever_its_words(play: Play) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(IntegrityError):
            async with world.db.transaction(EVERY_TENANT) as tx:
                await tx.execute(text("DO $$ BEGIN RAISE 'connection' USING ERRCODE = '23505'; END $$"))

    play(scene)


def test_of_two_that_move_a_patch_at_once_one_wins(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        async with world.db.transaction(EVERY_TENANT) as tx:
            patch = await patches.get(tx, patch_id)
        assert patch is not None

        async def cancel(who: str) -> str:
            try:
                async with world.db.transaction(EVERY_TENANT) as tx:
                    await move(tx, world.signer, patch, To(Status.CANCELLED, who, ""), world.clock.now())
            except Conflict:
                return "lost"
            return "won"

        outcomes = await asyncio.gather(*(cancel(who) for who in "abcd"))
        assert sorted(outcomes) == ["lost", "lost", "lost", "won"]
        assert world.sql("SELECT count(*) FROM patch_event WHERE to_status = 'CANCELLED'") == [(1,)]

    play(scene)


@pytest.mark.parametrize("current", list(Status))
def test_no_step_outside_the_table(play: Play, current: Status) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        async with world.db.transaction(EVERY_TENANT) as tx:
            patch = await patches.get(tx, patch_id)
            assert patch is not None
            for following in set(Status) - TRANSITIONS[current]:
                to = To(following, "x", "")
                with pytest.raises(Conflict):
                    await move(tx, world.signer, patch._replace(status=current), to, world.clock.now())

    play(scene)


def test_several_reviewers_never_take_the_same_patch(play: Play) -> None:
    async def scene(world: World) -> None:
        for number in range(6):
            await world.submit(priority=number)
        now = world.clock.now()

        async def claim() -> int:
            async with world.db.transaction(EVERY_TENANT) as tx:
                found = await patches.claim_queued(tx, now, LEASE)
                assert found is not None
                return found.id

        assert len(set(await asyncio.gather(*(claim() for _ in range(6))))) == 6
        async with world.db.transaction(EVERY_TENANT) as tx:
            assert await patches.claim_queued(tx, now, LEASE) is None
            assert await patches.claim_queued(tx, now + LEASE, LEASE) is not None, "a lease runs out"

    play(scene)


def test_the_servers_of_tests_write_checkpoints(database: str) -> None:
    """A server that cannot reach its own directory answers until it has to write there, and then it is gone."""
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
        assert connection.execute("SELECT 1").fetchone() == (1,)
