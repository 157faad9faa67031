"""What operators do from the machine itself: the `hms-mgt` command against a real database, and migrations."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from typer.testing import CliRunner, Result

from hms_mgt.bootstrap import write_keys
from hms_mgt.cli import cli
from hms_mgt.store import migrate
from tests.mgt.conftest import CONF, Play, World

Run = Callable[..., Result]
# The key that migrations/env.py locks.
MIGRATING = 0x484D53


@pytest.fixture
def run(database: str, tmp_path: Path) -> Run:
    """Run `hms-mgt` on a fresh database."""
    keys = tmp_path / "keys"
    write_keys(keys)

    def command(*arguments: str | Path) -> Result:
        env = {"HMS_DATABASE_URL": database, "HMS_KEYS": str(keys)}
        return CliRunner().invoke(cli, [str(one) for one in arguments], env=env)

    return command


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "conf.yml"
    path.write_text(CONF)
    return path


def rows(database: str, query: str) -> list[Any]:
    with psycopg.connect(database) as connection:
        return connection.execute(query.encode()).fetchall()


def acts(database: str, action: str) -> list[Any]:
    return [row for row in rows(database, "SELECT action, tenant, subject, detail FROM audit") if row[0] == action]


def test_a_revoked_token_is_good_for_nothing_and_that_is_audited(play: Play, run: Run, database: str) -> None:
    async def before(world: World) -> None:
        assert (await world.call("GET", "/api/patch", "viewer@IACB")).status_code == 200

    play(before)
    done = run("token", "revoke", "viewer@IACB")
    assert done.exit_code == 0, done.output
    assert rows(database, "SELECT name FROM token WHERE revoked_at IS NOT NULL") == [("viewer@IACB",)]
    assert [row[:3] for row in acts(database, "token.revoked")] == [("token.revoked", "IACB", "token/viewer@IACB")]


def test_only_a_token_that_is_there_can_be_revoked_and_twice_is_once(run: Run, database: str) -> None:
    run("token", "create", "--role", "auditor", "--name", "ann")
    for name, code in (("nobody", 2), ("ann", 0), ("ann", 0)):
        done = run("token", "revoke", name)
        assert done.exit_code == code, done.output
        assert name in done.stderr
    assert len(acts(database, "token.revoked")) == 1


def test_the_bounds_that_are_named_are_changed_and_what_was_is_audited(run: Run, database: str) -> None:
    added = run("tenant", "add", "IACB", "--replicas", "12", "--knob", "rate_limit_rps=500", "--knob", "limits.rps=1.5")
    assert added.exit_code == 0, added.output
    before = {"replicas": 12, "cpu": None, "memory": None, "knobs": {"rate_limit_rps": 500, "limits.rps": 1.5}}
    done = run("tenant", "quota", "IACB", "--replicas", "none", "--cpu", "16", "--knob", "limits.rps=none")
    assert done.exit_code == 0, done.output
    assert "tenant IACB may have 16 cpu, rate_limit_rps up to 500" in done.stderr
    after = {"replicas": None, "cpu": "16", "memory": None, "knobs": {"rate_limit_rps": 500}}
    assert rows(database, "SELECT replicas, cpu, memory, knobs FROM quota") == [tuple(after.values())]
    query = "SELECT actor, role, source, before, after FROM audit WHERE action = 'quota.changed'"
    assert rows(database, query) == [("operator", "platform_admin", "local", before, after)]
    # With nothing named it is only shown.
    assert "16 cpu, rate_limit_rps up to 500" in run("tenant", "quota", "IACB").stderr
    assert len(rows(database, query)) == 1


def test_a_quota_is_for_a_tenant_that_is_there_and_of_bounds_that_can_be(run: Run, database: str) -> None:
    unknown = run("tenant", "quota", "NOBODY", "--replicas", "1")
    assert (unknown.exit_code, "unknown tenant NOBODY" in unknown.stderr) == (2, True)
    wrong = [("--replicas", number) for number in ("-1", "3000000000", "many", "1.5", "nan")]
    wrong += [("--cpu", "much"), ("--memory", "1GB"), ("--knob", "a"), ("--knob", "a=-1"), ("--knob", "a..b=1")]
    for option, value in wrong:
        refused = run("tenant", "add", "IACB", option, value)
        assert refused.exit_code == 2, (option, value)
        assert option.strip("-") in refused.stderr
    assert rows(database, "SELECT * FROM tenant") == []
    run("tenant", "add", "IACB")
    for option, value in wrong:
        assert run("tenant", "quota", "IACB", option, value).exit_code == 2, (option, value)
    assert rows(database, "SELECT replicas, cpu, memory, knobs FROM quota") == [(None, None, None, {})]


def test_a_release_manager_is_of_one_tenant(run: Run, database: str) -> None:
    refused = run("token", "create", "--role", "release_manager")
    assert refused.exit_code == 2
    assert "/tenant: a release_manager is of one tenant" in refused.stderr
    assert rows(database, "SELECT * FROM token") == []
    made = run("token", "create", "--role", "release_manager", "--tenant", "IACB")
    assert made.exit_code == 0
    assert made.stdout.startswith("hms_")
    assert "tenant IACB is new: registered, without a quota" in made.stderr
    assert "without a quota" in " ".join(run("token", "create", "--help").output.split())


def test_a_service_is_registered_and_the_audit_holds_its_base_and_the_one_before(
    run: Run, database: str, conf: Path
) -> None:
    run("tenant", "add", "IACB")
    add = ("service", "add", "API", "--tenant", "IACB", "--version", "2.1.0", "--conf", conf)
    assert run(*add).exit_code == 0
    conf.write_text("rate_limit_rps: 70\n")
    assert run(*add, "--orchestrator", "local").exit_code == 0
    query = "SELECT subject, before, after FROM audit WHERE action = 'deployment.registered' ORDER BY id"
    (subject, nothing, first), (_, before, second) = rows(database, query)
    assert subject == "deployment/IACB/API/2.1.0"
    digest = hashlib.sha256(CONF.encode()).hexdigest()
    base = {"rate_limit_rps": 50, "replicas": 3}
    assert first == {"conf": CONF, "conf_sha256": digest, "base": base, "orchestrator": None}
    assert (nothing, before) == (None, first)
    assert (second["base"], second["orchestrator"]) == ({"rate_limit_rps": 70}, "local")


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("replicas: auto", "/conf/replicas"),
        ("replicas: 0", "/conf/replicas"),
        ("replicas: 101", "/conf/replicas"),
        ("cpu: lots", "/conf/cpu"),
        ("memory: 5", "/conf/memory"),
        ("rate_limit_rps: 5000", "/conf/rate_limit_rps"),
        ("a: 1\na: 2", "/conf/a"),
        ("- 1", "/conf"),
    ],
)
def test_a_base_that_could_not_be_scaled_is_refused(
    run: Run, database: str, conf: Path, text: str, pointer: str
) -> None:
    run("tenant", "add", "IACB")
    conf.write_text(text)
    refused = run("service", "add", "API", "--tenant", "IACB", "--version", "2.1.0", "--conf", conf)
    assert refused.exit_code == 2, refused.output
    assert f"{pointer}: " in refused.stderr
    assert rows(database, "SELECT * FROM deployment") == []


def test_an_orchestrator_is_one_that_there_is(run: Run, database: str, conf: Path) -> None:
    run("tenant", "add", "IACB")
    add = ("service", "add", "API", "--tenant", "IACB", "--version", "2.1.0", "--conf", conf, "--orchestrator")
    refused = run(*add, "kubernetes")
    assert (refused.exit_code, "/orchestrator: there is only local" in refused.stderr) == (2, True), refused.output
    assert rows(database, "SELECT * FROM deployment") == []
    assert run(*add, "local").exit_code == 0


def test_a_conf_that_is_not_text_is_one_line(run: Run, conf: Path) -> None:
    run("tenant", "add", "IACB")
    conf.write_bytes(b"\xff\xfe")
    refused = run("service", "add", "API", "--tenant", "IACB", "--version", "2.1.0", "--conf", conf)
    assert refused.exit_code == 2
    assert "/conf: is not UTF-8" in refused.stderr


def test_a_migration_waits_for_another_for_as_long_as_that_takes(database: str) -> None:
    held, release = threading.Event(), threading.Event()

    def other_replica() -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", (MIGRATING,))
            held.set()
            release.wait(30)

    thread = threading.Thread(target=other_replica)
    thread.start()
    assert held.wait(10)
    # Longer than a lock of the schema itself may be waited for.
    timer = threading.Timer(5.5, release.set)
    timer.start()
    began = time.monotonic()
    try:
        migrate.upgrade(database)
    finally:
        release.set()
        timer.cancel()
        thread.join()
    assert time.monotonic() - began > 5
