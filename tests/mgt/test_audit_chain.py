"""How the audit grows: in chains without gaps, with the act or not at all, whoever writes and whatever is said."""

import asyncio
import json
import math
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from psycopg import sql
from sqlalchemy import text

from hms_mgt.domain import chain
from hms_mgt.domain.chain_walk import Finding, link_of
from hms_mgt.domain.verification import Evidence, verify
from hms_mgt.errors import Unavailable
from hms_mgt.signer import Signer
from hms_mgt.store import audit, catalog, trail
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.store.trail import Act
from tests.mgt.conftest import Play, World
from tests.mgt.history import AT, KEY, TENANTS, act, ends, findings, opened, write

PUT_BACK = (
    "UPDATE audit_head SET (seq, hash, at, envelope) = (SELECT seq, hash, at, envelope FROM older);"
    " DELETE FROM audit WHERE seq = 2"
)
FORGED = (
    "INSERT INTO audit (tenant, at, actor, action, subject, detail, chain, seq, hash)"
    " VALUES ('IACB', now(), 'eve', 'x', 'y', '{}', 'IACB', 3, '')"
)
APPLIED = Act("IACB", "hms-mgt", "patch.applied", "patch/7")


def ask(url: str, query: str, *values: object) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query.encode(), values).fetchall()


def change(url: str, query: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(query.encode())


def test_a_history_is_whole(database: str) -> None:
    async def scene() -> list[Finding]:
        db = opened(database)
        witness = await write(db, patches=3)
        await db.close()
        return await findings(database, witness)

    assert asyncio.run(scene()) == []
    numbers = ask(database, "SELECT chain, min(seq), max(seq), count(*) FROM audit GROUP BY chain ORDER BY chain")
    assert numbers == [("*", 1, 6, 6), ("IACB", 1, 19, 19), ("VA", 1, 22, 22)]
    assert ask(database, "SELECT tenant, seq FROM audit_head ORDER BY tenant") == [("*", 6), ("IACB", 19), ("VA", 22)]


@pytest.mark.parametrize(
    "setting", ["datestyle = 'German'", "timezone = 'Asia/Kathmandu'", "intervalstyle = 'iso_8601'"]
)
def test_however_a_database_writes_instants_the_chain_is_whole_and_goes_on(database: str, setting: str) -> None:
    async def scene() -> list[Finding]:
        db = opened(database)
        await write(db, patches=1)
        await db.close()
        return await findings(database)

    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(f"ALTER ROLE postgres SET {setting}".encode())
        try:
            assert asyncio.run(scene()) == []
        finally:
            connection.execute("ALTER ROLE postgres RESET ALL")


def test_eight_writers_on_one_chain_leave_neither_gap_nor_break(database: str) -> None:
    async def scene() -> list[Finding]:
        replicas = [opened(database) for _ in range(4)]

        async def writer(number: int) -> None:
            for order in range(10):
                acts = [APPLIED._replace(actor=f"w{number}", subject=f"patch/{order}")]
                if order % 3 == 0:
                    acts += [Act(None, "ops", "x", "y"), acts[0], Act("VA", "ops", "x", "y")]
                await act(replicas[number % 4], *acts)

        await asyncio.gather(*(writer(number) for number in range(8)))
        for db in replicas:
            await db.close()
        return await findings(database)

    assert asyncio.run(scene()) == []
    assert ask(database, "SELECT max(seq), count(*) FROM audit WHERE chain = 'IACB'") == [(112, 112)]


def test_acts_of_one_transaction_stand_in_their_order(database: str) -> None:
    async def scene() -> None:
        db = opened(database)
        await act(db, *(APPLIED._replace(subject=f"patch/{number}") for number in range(5)))
        await db.close()

    asyncio.run(scene())
    assert ask(database, "SELECT seq, subject FROM audit ORDER BY seq") == [(n + 1, f"patch/{n}") for n in range(5)]


async def break_off(db: Database) -> None:
    async with db.transaction(EVERY_TENANT) as tx:
        await trail.audit_act(tx, APPLIED, AT)
        raise ZeroDivisionError


def test_what_fails_leaves_neither_row_nor_end_and_nothing_for_the_next(database: str) -> None:
    async def scene() -> None:
        db = Database(database, Signer(KEY), pool_size=1)
        await act(db, APPLIED)
        with pytest.raises(ZeroDivisionError):
            await break_off(db)
        with pytest.raises(Exception, match="row-level security"):
            async with db.transaction("VA") as tx:
                await trail.audit_act(tx, APPLIED, AT)
        async with db.transaction(EVERY_TENANT) as tx:
            await tx.execute(text("SELECT 1"))
        async with db.engine.connect() as bare:
            with pytest.raises(KeyError):
                await trail.audit_act(bare, APPLIED, AT)
        await db.close()

    asyncio.run(scene())
    assert ask(database, "SELECT seq FROM audit") == [(1,)]
    assert ask(database, "SELECT tenant, seq FROM audit_head") == [("IACB", 1)]
    assert asyncio.run(findings(database)) == []


def test_who_has_to_wait_too_long_for_the_end_of_a_chain_is_told_to_come_again(database: str) -> None:
    async def scene() -> None:
        db = opened(database)
        await act(db, APPLIED)
        with psycopg.connect(database) as frozen:
            frozen.execute("SELECT FROM audit_head FOR UPDATE")
            with pytest.raises(Unavailable, match="busy"):
                await act(db, APPLIED)
        await act(db, APPLIED)
        await db.close()

    asyncio.run(scene())
    assert ask(database, "SELECT seq FROM audit ORDER BY seq") == [(1,), (2,)]


def test_a_transaction_without_acts_leaves_the_ends_alone(database: str) -> None:
    async def scene() -> None:
        db = opened(database)
        async with db.transaction(EVERY_TENANT) as tx:
            await tx.execute(text("SELECT 1"))
        assert await ends(db) == []
        await db.close()

    asyncio.run(scene())


@pytest.mark.parametrize("statement", ["UPDATE {} SET actor = 'eve'", "DELETE FROM {}", "TRUNCATE {}"])
def test_the_application_can_only_append(database: str, statement: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE hms_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(sql.SQL(statement).format(sql.Identifier("audit")))


@pytest.mark.parametrize("statement", ["DELETE FROM audit_head", "TRUNCATE audit_head"])
def test_the_application_cannot_take_an_end_away(database: str, statement: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("SET ROLE hms_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_whatever_is_said_can_be_stored_and_verified(database: str) -> None:
    odd: Any = {
        "half": "\ud800",
        "nul": "\0",
        "floats": [0.1 + 0.2, 1e300, -0.0, 5e-324, math.nan, math.inf],
        "big": 2**200,
        7: {"é": "☃"},
        "when": AT,
    }
    said = Act("IACB", "\ud800\0eve", "x", "a\tb", odd, after=odd, before={"a": None})

    async def scene() -> None:
        db = opened(database)
        await act(db, said, said)
        await db.close()
        assert await findings(database) == []

    asyncio.run(scene())
    ((actor, kept),) = ask(database, "SELECT actor, after FROM audit WHERE seq = 1")
    assert actor == "\\ud800\\x00eve"
    assert kept["floats"] == [0.1 + 0.2, 1e300, -0.0, 5e-324, "NaN", "Infinity"]
    assert (kept["half"], kept["nul"], kept["when"]) == ("\ud800", "\0", "2026-11-23T12:00:00.000000Z")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_a_value_is_spelled_the_same_after_every_reading(value: Any) -> None:
    once = chain.spelled(chain.plain_value(value))
    assert chain.spelled(json.loads(once)) == once
    assert once.isascii()


@pytest.mark.parametrize(
    "tamper",
    [
        "UPDATE audit SET hash = 'x' WHERE seq = 2",
        "DELETE FROM audit WHERE seq = 2",
        "DELETE FROM audit",
        "DELETE FROM audit_head",
        "DELETE FROM audit; DELETE FROM audit_head",
        "UPDATE audit_head SET seq = 1",
        "UPDATE audit_head SET at = 'infinity'",
        "UPDATE audit_head SET envelope = ''",
        PUT_BACK,
        FORGED,
        "UPDATE audit SET seq = 9223372036854775807 WHERE seq = 2",
    ],
)
@pytest.mark.parametrize("restarted", [False, True])
def test_writing_goes_on_behind_a_tampered_end_and_never_blesses_it(
    database: str, tamper: str, *, restarted: bool
) -> None:
    async def scene() -> list[Finding]:
        db = opened(database)
        await act(db, APPLIED)
        change(database, "CREATE TABLE older AS TABLE audit_head")
        await act(db, APPLIED, at=AT + timedelta(minutes=1))
        witness = await ends(db)
        change(database, f"{tamper}; DROP TABLE older")
        again = opened(database) if restarted else db
        for _ in range(3):
            await act(again, APPLIED)
        await again.close()
        await db.close()
        return await findings(database, witness)

    assert asyncio.run(scene()) != []
    assert ask(database, "SELECT count(*) FROM audit WHERE actor = 'hms-mgt'")[0][0] >= 3


def test_a_process_knows_that_an_end_it_wrote_is_gone_without_any_witness(database: str) -> None:
    async def scene() -> list[Finding]:
        db = opened(database)
        await act(db, APPLIED)
        await act(db, APPLIED)
        change(database, "DELETE FROM audit; DELETE FROM audit_head")
        await act(db, APPLIED)
        await db.close()
        return await findings(database)

    assert [one.kind for one in asyncio.run(scene())] == ["missing", "torn"]


def test_a_process_knows_that_an_older_end_was_put_back_without_any_witness(database: str) -> None:
    async def scene() -> list[Finding]:
        db = opened(database)
        await act(db, APPLIED)
        change(database, "CREATE TABLE older AS TABLE audit_head")
        await act(db, APPLIED)
        change(database, f"{PUT_BACK}; DROP TABLE older")
        await act(db, APPLIED)
        await db.close()
        return await findings(database)

    assert [(one.kind, one.seq) for one in asyncio.run(scene())] == [("missing", 2), ("torn", 3)]


def test_an_end_that_an_earlier_key_signed_is_still_ours(database: str) -> None:
    old, new = SigningKey.generate(), SigningKey.generate()

    async def scene() -> list[Finding]:
        for key in (old, new):
            db = Database(database, Signer(key, ours=lambda: (old.verify_key, new.verify_key)))
            await act(db, APPLIED)
            await db.close()
        return await findings(database)

    found = asyncio.run(scene())
    assert [one.kind for one in found] == ["head-unsigned"], "the test itself trusts another key"
    assert ask(database, "SELECT count(*) FROM audit") == [(2,)]


def test_what_was_written_before_there_were_chains_is_vouched_for_by_the_first_row(database: str) -> None:
    insert = (
        "INSERT INTO audit (tenant, at, actor, action, subject, detail) VALUES ('IACB', now(), 'old', 'x', 'y', %s)"
    )
    with psycopg.connect(database) as connection:
        for number in range(3):
            connection.execute(insert.encode(), (f'{{"a": {number}, "b": 1}}',))

    async def scene() -> None:
        db = opened(database)
        (before,) = await findings(database)
        assert before.words == "IACB: 3 rows are in no chain, and nothing vouches for them"
        await act(db, APPLIED)
        await act(db, APPLIED)
        await db.close()
        assert await findings(database) == []
        change(database, "UPDATE audit SET actor = 'eve' WHERE id = 2")
        assert [(one.kind, one.seq) for one in await findings(database)] == [("rewritten", 1)]
        change(database, "UPDATE audit SET actor = 'old' WHERE id = 2")
        assert await findings(database) == []
        with psycopg.connect(database) as connection:
            connection.execute(insert.encode(), ("{}",))
        assert [(one.kind, one.row) for one in await findings(database)] == [("unchained", 6)]

    asyncio.run(scene())


def test_rows_from_any_hand_and_of_any_type_are_findings_not_errors() -> None:
    odd: list[Any] = [None, True, -1, 1.5, 2**70, "x", "\ud800", [], {}, [[1]], {"a": {"b": None}}]
    names = (*chain.COLUMNS, "id", "hash", "checksums")
    rows = [dict.fromkeys(names, value) for value in odd] + [{}, {"chain": "IACB", "seq": 1}]
    heads = [dict.fromkeys(("chain", "seq", "hash", "at", "envelope"), value) for value in odd]
    witness = ["", "{}", "null", '{"payload": 3}', '{"payload": "e30="}', "[" * 10_000]
    found = verify(map(link_of, rows), Evidence((KEY.verify_key,), heads, witness, TENANTS))
    assert {one.kind for one in found} >= {"head-unsigned", "unchained", "missing"}
    assert all(one.words for one in found)


def test_a_hundred_thousand_rows_are_verified_in_seconds() -> None:
    rows = [
        {"tenant": "IACB", "at": "2026-11-23T12:00:00.000000Z", "actor": "a", "action": "x", "subject": f"patch/{n}"}
        | {"after": {"status": "APPLIED", "reason": "in effect on 3 instances"}, "detail": {}}
        for n in range(100_000)
    ]
    placed = [{**row, "id": row["seq"]} for row in chain.sealed(chain.End(0, chain.START), rows)]
    end = chain.Head("IACB", chain.End(placed[-1]["seq"], placed[-1]["hash"]), placed[-1]["at"])
    envelope = Signer(KEY).audit_head(end)
    head = {"chain": "IACB", **end.end._asdict(), "at": end.at, "envelope": envelope}
    began = time.process_time()
    links = [link_of(row) for row in reversed(placed)]
    assert verify(links, Evidence((KEY.verify_key,), [head], [envelope], ["IACB"])) == []
    assert time.process_time() - began < 10


def test_every_act_of_the_control_plane_is_chained(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(reason="the market")
        answer = await world.call("POST", f"/api/patch/{patch_id}/cancel", json={"reason": "it rains"})
        assert answer.status_code == 202, answer.text
        assert (await world.call("POST", "/api/patch", "viewer@IACB", json={})).status_code == 403
        told = world.sql(
            "SELECT actor, role, source, action, subject, before, after, detail, request_id IS NOT NULL FROM audit"
            " WHERE source IS DISTINCT FROM 'local' ORDER BY id"
        )
        asked, cancelled, denied = told
        assert asked[:5] == (
            "release_manager@IACB",
            "release_manager",
            "127.0.0.1",
            "patch.queued",
            f"patch/{patch_id}",
        )
        assert asked[6]["changes"] == {"rate_limit_rps": 200}
        assert asked[6]["window"]["start"] == "2026-11-23T12:00:00Z"
        assert asked[6]["reason"] == "the market"
        assert cancelled[5:7] == ({"status": "QUEUED"}, {"status": "CANCELLED", "reason": "it rains"})
        assert denied[1:5] == ("viewer", "127.0.0.1", "denied", "POST /api/patch")
        assert denied[7]["code"] == "forbidden"
        assert all(row[-1] for row in told)
        assert not any(secret in str(told) for secret in ("hms_", "Bearer"))
        found = await _verified(world)
        assert found == []

    play(scene)


async def _verified(world: World) -> list[Finding]:
    async with world.db.transaction(EVERY_TENANT, still=True) as tx:
        links = [link_of(row) async for row in audit.everything(tx)]
        evidence = Evidence(world.trust.mgt.keys, await audit.heads(tx), (), await catalog.tenants(tx))
    return verify(links, evidence)
