"""A transaction in one tenant's scope writes nobody else's rows, and the application changes no more than it has to."""

from datetime import timedelta

import psycopg
import pytest
from psycopg import sql

from hms_mgt.store.tables import metadata
from tests.mgt.conftest import Play, World
from tests.mgt.filled import fill_iacb, fill_va
from tests.mgt.people import join

# What may never be written again, and of the tables that change, the columns that may.
_WRITABLE = {
    "freeze_window": {"lifted_at", "lifted_by"},
    "token": {"revoked_at", "last_used_at"},
    "audit_head": {"seq", "hash", "at", "envelope"},
    "platform_cap": {"replicas", "cpu", "memory", "knobs"},
    **{name: set() for name in ("approval", "audit", "deployment_base", "patch_event", "receipt", "stream_revision")},
}


@pytest.mark.parametrize("name", sorted(_WRITABLE))
def test_the_application_changes_no_more_than_it_has_to(database: str, name: str) -> None:
    with psycopg.connect(database) as connection:
        columns = [one.name for one in metadata.tables[name].c]
        query = "SELECT has_column_privilege('hms_app', %s, %s, 'UPDATE')"
        found = {one for one in columns if (connection.execute(query, (name, one)).fetchone() or (True,))[0]}
    assert found == _WRITABLE[name]


def test_nobody_takes_over_what_is_anothers_or_the_platforms(play: Play) -> None:
    async def scene(world: World) -> None:
        await fill_va(world)
        await fill_iacb(world)
        await join(world, "platform_admin", "root", tenant=None)
        now = world.clock.now()
        everywhere = {
            "start": (now + timedelta(days=400)).isoformat(),
            "end": (now + timedelta(days=401)).isoformat(),
            "reason": "all",
        }
        answer = await world.call("POST", "/api/freeze", "root", json=everywhere)
        assert answer.status_code == 201, answer.text
        with psycopg.connect(world.url) as connection:
            for name in sorted(one.name for one in metadata.sorted_tables if "tenant" in one.c):
                table = sql.Identifier(name)
                foreign = sql.SQL("SELECT count(*) FROM {} WHERE tenant IS DISTINCT FROM 'IACB'").format(table)
                before = connection.execute(foreign).fetchone()
                connection.execute("SELECT set_config('role', 'hms_app', true), set_config('hms.tenant', 'IACB', true)")
                take = sql.SQL("UPDATE {} SET tenant = 'IACB' WHERE tenant IS DISTINCT FROM 'IACB'").format(table)
                try:
                    assert connection.execute(take).rowcount == 0, name
                except psycopg.errors.InsufficientPrivilege:
                    connection.rollback()
                connection.execute("RESET role")
                assert connection.execute(foreign).fetchone() == before, name
                connection.rollback()

    play(scene)


def test_every_row_that_is_written_is_held_to_the_scope(database: str) -> None:
    with psycopg.connect(database) as connection:
        found = connection.execute(
            "SELECT tablename, policyname, coalesce(with_check, qual) FROM pg_policies WHERE cmd <> 'SELECT'"
        ).fetchall()
    scope = "(current_setting('hms.tenant'::text, true) = '*'::text)"
    own = f"({scope} OR (tenant = current_setting('hms.tenant'::text, true)))"
    assert {table: check for table, _, check in found if check != own} == {"platform_cap": scope}
