"""A patch's life with real neighbours: a check that fails, an orchestrator that scales, a database that keeps tenants
apart (promises 1, 3 and 8)."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import psycopg
import pytest

from hms_mgt.store.tables import TENANT_TABLES

from .system import SERVICE, TENANT, Instance, System, path_of, until, workers_of


def test_promise_3_what_nginx_refuses_is_halted_and_rolled_back_with_its_own_words(system: System) -> None:
    files, workers = system.conf_files(), workers_of(system.instances())
    done = system.reaches(system.submit({"logging.level": "nonsense", "rate_limit_rps": 500}), "ROLLED_BACK")
    assert path_of(done) == ["QUEUED", "APPROVED", "ROLLING_OUT", "HALTED", "REVERTING", "ROLLED_BACK"]
    assert 'invalid log level "nonsense"' in done["status_reason"]
    assert any(f"instance {one.name} failed at checked" in done["status_reason"] for one in system.instances())
    halted = next(event for event in done["events"] if event["to"] == "HALTED")
    assert 'invalid log level "nonsense"' in halted["detail"]
    assert system.shows(50)
    assert system.conf_files() == files, "the candidate was checked before any file changed"
    assert workers_of(system.instances()) == workers, "nothing was reloaded"
    until("no instance has a failure left", system.fleet, lambda fleet: not any(one["failed"] for one in fleet), 10)


def test_promise_8_a_dead_served_process_starts_again_from_the_file_on_disk(system: System) -> None:
    patch_id = system.apply({"rate_limit_rps": 58})
    first = system.instances()[0]
    os.killpg(first.served, signal.SIGKILL)
    until("it is started again", lambda: system.instances()[0].served, lambda pid: pid != first.served)
    until("it serves what it served", lambda: system.limit(first), lambda limit: limit == "58")
    system.roll_back(patch_id)
    assert system.shows(50)


def marks(instances: list[Instance]) -> list[tuple[str, int, int]]:
    return [(one.name, one.sidecar, one.served) for one in instances]


def test_promise_3_replicas_grow_with_their_patch_and_shrink_with_its_end(system: System) -> None:
    before = system.instances()
    patch_id = system.apply({"replicas": 5, "rate_limit_rps": 55})
    grown = system.instances()
    assert marks(grown)[:3] == marks(before), "those that ran go on running"
    assert len(grown) == 5
    assert system.shows(55)
    assert all(b"replicas: 5 " in one.conf for one in grown)
    assert [one["active"] for one in system.fleet()] == [[patch_id]] * 5
    assert system.patch(patch_id)["progress"]["replicas"] == {"wanted": 5, "running": 5}

    system.roll_back(patch_id)
    assert marks(system.instances()) == marks(before)
    assert system.shows(50)
    assert not any(psutil.pid_exists(pid) for one in grown[3:] for pid in (one.sidecar, one.served))
    assert not any(one.home.exists() for one in grown[3:])
    until("three instances are live", system.fleet, lambda fleet: [one["status"] for one in fleet] == ["LIVE"] * 3)


@pytest.fixture(scope="module")
def neighbour(system: System) -> str:
    """The token of another tenant's release manager, made as an operator makes one."""
    hms_mgt = str(Path(sys.executable).with_name("hms-mgt"))
    made = subprocess.run(
        [hms_mgt, "token", "create", "--role", "release_manager", "--tenant", "CDC"],
        env={"HMS_DATABASE_URL": system.ready["database_url"], "HMS_KEYS": str(system.data / "keys")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return made.stdout.strip()


def test_promise_1_another_tenants_manager_sees_and_moves_nothing(system: System, neighbour: str) -> None:
    patch_id = system.apply({"rate_limit_rps": 66})
    unseen = [f"/api/patch/{patch_id}", f"/api/stream/{TENANT}/{SERVICE}/snapshot"]
    assert [system.ask("GET", path, token=neighbour).status_code for path in unseen] == [httpx.codes.NOT_FOUND] * 2
    for path in ("/api/patch", f"/api/patch?tenant={TENANT}", "/api/instance", f"/api/instance?tenant={TENANT}"):
        answer = system.ask("GET", path, token=neighbour)
        assert (answer.status_code, answer.json()["items"]) == (httpx.codes.OK, [])
    for verb in ("rollback", "cancel"):
        answer = system.ask("POST", f"/api/patch/{patch_id}/{verb}", token=neighbour)
        assert answer.status_code == httpx.codes.NOT_FOUND
    theirs = {"service": SERVICE, "version_selector": "*", "changes": {"rate_limit_rps": 1}, "tenant": TENANT}
    assert system.ask("POST", "/api/patch", token=neighbour, body=theirs).status_code == httpx.codes.FORBIDDEN
    assert system.shows(66)
    system.roll_back(patch_id)


@contextlib.contextmanager
def scoped(system: System, tenant: str | None) -> Iterator[psycopg.Connection]:
    """Open a transaction with the application's role and one tenant's scope, or none."""
    with system.sql() as sql:
        sql.execute("SET LOCAL ROLE hms_app")
        if tenant is not None:
            sql.execute("SELECT set_config('hms.tenant', %s, true)", (tenant,))
        yield sql
        sql.rollback()


def rows(sql: psycopg.Connection, table: str) -> int:
    query = psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier(table))
    found = sql.execute(query).fetchone()
    assert found is not None
    return int(found[0])


# What the demo has written by the time the tests above have run, and nothing that a token for CDC adds.
_FILLED = ("deployment", "quota", "patch", "patch_event", "stream", "stream_revision", "outbox", "instance", "receipt")


def test_promise_1_the_database_itself_shows_a_tenant_no_row_of_another(system: System, neighbour: str) -> None:
    assert neighbour
    system.roll_back(system.apply({"rate_limit_rps": 67}))
    with scoped(system, TENANT) as sql:
        assert [table for table in _FILLED if rows(sql, table) == 0] == []
    for tenant in ("CDC", None):
        with scoped(system, tenant) as sql:
            found = {table: rows(sql, table) for table in _FILLED if table != "quota"}
            assert found == dict.fromkeys(found, 0), tenant
    for table in TENANT_TABLES:
        with scoped(system, "CDC") as sql:
            query = psycopg.sql.SQL("SELECT count(*) FROM {} WHERE tenant = %s").format(psycopg.sql.Identifier(table))
            assert sql.execute(query, (TENANT,)).fetchone() == (0,), table


def test_promise_1_the_database_itself_takes_no_row_for_another_tenant(system: System, neighbour: str) -> None:
    assert neighbour
    forged = "INSERT INTO stream (tenant, service, revision, snapshot) VALUES (%s, 'BILLING', 1, '')"
    with (
        scoped(system, "CDC") as sql,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"),
    ):
        sql.execute(forged, (TENANT,))
    with scoped(system, "CDC") as sql:
        assert sql.execute("UPDATE stream SET revision = 0").rowcount == 0
        assert sql.execute("UPDATE patch SET status = 'CANCELLED' WHERE tenant = %s", (TENANT,)).rowcount == 0


# The last two: each takes something away for good, and a fleet that does not recover would spoil what comes after.
def test_promise_8_a_served_process_recovers_when_only_its_master_died(system: System) -> None:
    first = system.instances()[0]
    psutil.Process(first.served).kill()  # its workers live on, with the listening socket
    try:
        until("it is started again", lambda: system.instances()[0].served, lambda pid: pid != first.served)
        patch_id = system.submit({"rate_limit_rps": 59})
        system.reaches(patch_id, "APPLIED", 15)
        assert system.shows(59)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(first.served, signal.SIGKILL)
    system.roll_back(patch_id)


def test_promise_10_an_instance_taken_down_without_a_goodbye_keeps_no_patch_waiting(system: System) -> None:
    patch_id = system.apply({"replicas": 4})
    extra = system.instances()[3]
    psutil.Process(extra.sidecar).suspend()  # it cannot report any more, not even that it ends
    system.ask("POST", f"/api/patch/{patch_id}/rollback").raise_for_status()
    until("it is taken down", system.instances, lambda left: len(left) == 3)
    system.reaches(patch_id, "ROLLED_BACK", 15)
    assert extra.name not in [one["instance"] for one in system.fleet()]
    system.roll_back(system.apply({"rate_limit_rps": 61}))
