"""What a superuser does to the audit behind our back is found, and the finding says where."""

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from hms_mgt.domain.chain_walk import Finding
from hms_mgt.store.trail import Act
from tests.mgt.history import act, findings, opened, write
from tests.mgt.tampers import TAMPERS, Owner, Touched, seal_all_anew_from_somewhere


def names(found: list[Finding], touched: Touched) -> bool:
    """Tell whether a finding names what was touched."""
    for one in found:
        if one.row is not None and one.row in touched.rows:
            return True
        if one.chain == touched.chain and touched.seqs & set(one.span):
            return True
        if one.chain == touched.chain and not touched.seqs and one.kind.startswith("head-"):
            return True
    return False


@pytest.fixture
def witness(database: str) -> Iterator[list[str]]:
    """A history that can be had back, and what the witness of it kept."""

    async def scene() -> list[str]:
        db = opened(database)
        seen = await write(db)
        await db.close()
        return seen

    seen = asyncio.run(scene())
    with psycopg.connect(database) as connection:
        for table in ("audit", "audit_head"):
            connection.execute(f"CREATE TABLE {table}_was AS TABLE {table}".encode())
    yield seen
    with psycopg.connect(database) as connection:
        restore(connection)
        connection.execute("DROP TABLE audit_was, audit_head_was")


def restore(connection: psycopg.Connection[Any]) -> None:
    connection.execute("TRUNCATE audit, audit_head")
    connection.execute("CREATE UNIQUE INDEX IF NOT EXISTS ix_audit_chain ON audit (chain, seq)")
    connection.execute("INSERT INTO audit SELECT * FROM audit_was")
    connection.execute("INSERT INTO audit_head SELECT * FROM audit_head_was")


async def go_on(url: str) -> None:
    """Let the application, started anew, write one row more to each chain."""
    db = opened(url)
    await act(db, *(Act(name, "hms-mgt", "patch.applied", "patch/7") for name in ("IACB", "VA", None)))
    await db.close()


def test_a_hundred_tampers_are_found_and_located_and_never_blessed(database: str, witness: list[str]) -> None:
    assert asyncio.run(findings(database, witness)) == []
    for seed in range(4 * len(TAMPERS)):
        tamper = TAMPERS[seed % len(TAMPERS)]
        with psycopg.connect(database) as connection:
            restore(connection)
            touched = tamper(Owner(connection, witness, seed))
        found = asyncio.run(findings(database, witness))
        assert names(found, touched), (seed, tamper.__name__, touched, found)
        asyncio.run(go_on(database))
        assert asyncio.run(findings(database, witness)), (seed, tamper.__name__, "blessed")


def test_rows_sealed_anew_to_the_very_end_are_found_without_a_witness(database: str, witness: list[str]) -> None:
    with psycopg.connect(database) as connection:
        owner = Owner(connection, witness, 0)
        seal_all_anew_from_somewhere(owner)
        owner.run(
            "UPDATE audit_head SET hash = was.hash FROM audit_head_was AS was WHERE audit_head.tenant = was.tenant"
        )
    (found,) = asyncio.run(findings(database))
    assert (found.kind, found.chain, found.seq) == ("rewritten", owner.chain, owner.last)
