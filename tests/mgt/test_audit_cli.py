"""`hms-mgt audit`: verify it in the database and from a file; export it; and the witness outside the database."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from nacl.signing import SigningKey
from typer.testing import CliRunner, Result

from hms_mgt.cli import cli
from hms_mgt.domain import chain
from hms_mgt.signer import Signer
from hms_mgt.store.trail import Act
from hms_mgt.workers.witness import Witness
from hms_svc.trust import dump_trust
from tests.mgt.history import KEY, act, opened, write

GOV = SigningKey(bytes(32))
Run = Callable[..., Result]


@pytest.fixture
def run(database: str, tmp_path: Path) -> Run:
    """Run `hms-mgt audit`, on a history."""
    (tmp_path / "keys").mkdir()
    trust = dump_trust([GOV.verify_key], [KEY.verify_key])
    (tmp_path / "keys" / "trust.json").write_text(trust)

    async def scene() -> None:
        db = opened(database)
        await write(db, patches=2)
        await db.close()

    asyncio.run(scene())

    def command(*arguments: str | Path, url: str | None = database, **more: Any) -> Result:
        env = {
            "HMS_DATABASE_URL": url,
            "HMS_KEYS": str(tmp_path / "keys"),
            "HMS_TRUST": None,
            "HMS_AUDIT_WITNESS": None,
        }
        return CliRunner().invoke(cli, ["audit", *map(str, arguments)], env=env, **more)

    return command


@pytest.fixture
def export(run: Run, tmp_path: Path) -> Path:
    done = run("export")
    assert done.exit_code == 0, done.output
    path = tmp_path / "audit.jsonl"
    path.write_text(done.stdout)
    return path


def owner(database: str, statement: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(statement.encode())


def test_what_is_whole_is_0_and_what_is_broken_is_1_with_the_row(run: Run, database: str) -> None:
    whole = run("verify")
    assert (whole.exit_code, whole.stdout) == (0, "")
    assert "the audit is whole: 32 rows and 3 signed ends of chains" in whole.stderr
    owner(database, "UPDATE audit SET after = '{}' WHERE chain = 'IACB' AND seq = 5")
    broken = run("verify")
    assert (broken.exit_code, broken.stdout) == (1, "IACB 5: after was changed\n")
    assert "the audit is broken (1 finding)" in broken.stderr
    document = json.loads(run("verify", "--json").stdout)
    assert (document["sound"], document["rows"]) == (False, 32)
    (found,) = document["findings"]
    assert (found["kind"], found["chain"], found["seq"], found["words"]) == (
        *("edited", "IACB", 5, "IACB 5: after was changed"),
    )


def test_an_export_is_verified_without_the_database(run: Run, export: Path) -> None:
    whole = run("verify", export, url=None)
    assert whole.exit_code == 0, whole.output
    assert run("verify", "-", url=None, input=export.read_text()).exit_code == 0
    lines = export.read_text().splitlines()
    broken = {
        "edited": [line.replace('"patch/1"', '"patch/9"') for line in lines],
        "cut off": lines[:-3],
        "one less": lines[:9] + lines[10:],
        "shown twice": [*lines, lines[9]],
        "without the ends": [line for line in lines if '"head"' not in line],
        "without the rows": [line for line in lines if '"actor"' not in line],
        "not JSON": [*lines, "{"],
    }
    for name, text in broken.items():
        export.write_text("\n".join(text))
        assert run("verify", export, url=None).exit_code == 1, name
    export.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert run("verify", export, url=None).exit_code == 0, "the order of the lines says nothing"


def test_what_cannot_be_told_is_2(run: Run, export: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("")
    for arguments in (
        ("verify", tmp_path / "nothing-there"),
        ("verify", empty),
        ("verify", export, "--trust", tmp_path / "nothing-there"),
        ("verify", export, "--trust", export),
        ("verify", export, "--heads", tmp_path / "nothing-there"),
        ("export", "--tenant", "NOBODY"),
    ):
        assert run(*arguments).exit_code == 2, arguments
    assert run("verify", url=None).exit_code == 2
    assert run("verify", url="postgresql://postgres@127.0.0.1:1/postgres").exit_code == 2


def test_what_is_no_database_or_none_of_ours_is_2_and_tells_no_secret(run: Run, database: str) -> None:
    """1 is for an audit that is broken, and nothing else."""
    nowhere = database.replace("/postgres?", "/template1?")
    for url in ("postgres//hms:s3cret@here", "postgresql://hms:s3cret@here:port/hms", nowhere):
        for command in ("verify", "export"):
            done = run(command, url=url)
            assert done.exit_code == 2, (url, done.output, done.exception)
            assert done.stderr.startswith("hms-mgt: ")
            assert done.stderr.count("\n") == 1
            assert "s3cret" not in done.output


def test_a_file_that_is_not_text_is_broken_not_a_bug(run: Run, export: Path) -> None:
    export.write_bytes(export.read_bytes() + b"\xff\xfe\n")
    done = run("verify", export, url=None)
    assert done.exit_code == 1
    assert "holds no row" in done.stdout


def test_an_export_that_makes_itself_older_says_so_and_one_that_does_not_say_when_is_held_to_all(
    run: Run, export: Path, database: str
) -> None:
    """Whoever cuts an export off can also write into it that it was made before: the reader has to be told."""
    kept = export.with_name("heads.jsonl")

    async def look() -> None:
        db = opened(database)
        await Witness(kept).step(db)
        await db.close()

    async def go_on() -> None:
        db = opened(database)
        await act(db, Act("IACB", "hms-mgt", "patch.applied", "patch/7"), at=datetime(2026, 11, 23, 13, tzinfo=UTC))
        await db.close()

    asyncio.run(go_on())
    asyncio.run(look())
    first, *rest = export.read_text().splitlines()
    for until, code in (("2026-11-23T12:30:00.000000Z", 0), ("", 1), (None, 1), ("0", 1), (17, 1)):
        export.write_text("\n".join([json.dumps({**json.loads(first), "complete_until": until}), *rest]))
        done = run("verify", export, "--heads", kept, "--json")
        assert done.exit_code == code, until
        document = json.loads(done.stdout)
        assert document["until"] == (until if code == 0 else None)
        assert document["chains"] == ["*", "IACB", "VA"]
        assert (f"until {until}" in done.stderr) == (code == 0)


def test_another_key_vouches_for_nothing(run: Run, export: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text(dump_trust([GOV.verify_key], [SigningKey.generate().verify_key]))
    done = run("verify", export, "--trust", other)
    assert done.exit_code == 1
    assert "IACB: the end of the chain is not signed by MGT" in done.stdout


def test_a_tenants_export_holds_its_own_rows_and_is_whole(run: Run, tmp_path: Path) -> None:
    mine = tmp_path / "iacb.jsonl"
    mine.write_text(run("export", "--tenant", "IACB").stdout)
    assert not any(foreign in mine.read_text() for foreign in ('"VA"', '"*"'))
    assert run("verify", mine).exit_code == 0


def test_the_witness_shows_what_the_database_alone_does_not(run: Run, database: str, tmp_path: Path) -> None:
    kept = tmp_path / "heads.jsonl"
    witness = Witness(kept)

    async def look() -> None:
        db = opened(database)
        await witness.step(db)
        await db.close()

    async def go_on() -> None:
        db = opened(database)
        await act(db, Act("IACB", "hms-mgt", "patch.applied", "patch/7"))
        await db.close()

    asyncio.run(look())
    asyncio.run(look())
    assert len(kept.read_text().splitlines()) == 3, "what is known is not written again"
    owner(database, "CREATE TABLE older AS TABLE audit_head")
    asyncio.run(go_on())
    asyncio.run(look())
    assert len(kept.read_text().splitlines()) == 4
    older = tmp_path / "older.jsonl"
    older.write_text(run("export").stdout)
    owner(database, "DELETE FROM audit WHERE chain = 'IACB' AND seq = 14; DELETE FROM audit_head")
    owner(database, "INSERT INTO audit_head SELECT * FROM older; DROP TABLE older")
    assert run("verify").exit_code == 0, "an older end fits what is left"
    for arguments in (("--heads", kept), ("--heads", kept, "--json")):
        assert run("verify", *arguments).exit_code == 1
    assert "IACB 14: missing at the end\n" in run("verify", "--heads", kept).stdout
    assert run("verify", older, "--heads", kept).exit_code == 0
    cut = [line for line in older.read_text().splitlines() if '"seq": 14' not in line or '"chain": "IACB"' not in line]
    older.write_text("\n".join(cut))
    assert run("verify", older, "--heads", kept).exit_code == 1


def test_an_export_is_not_broken_for_what_was_witnessed_after_it(run: Run, export: Path, database: str) -> None:
    kept = export.with_name("heads.jsonl")

    async def later() -> None:
        db = opened(database)
        soon = datetime.now(UTC) + timedelta(minutes=5)
        await act(db, Act("IACB", "hms-mgt", "patch.applied", "patch/7"), at=soon)
        await Witness(kept).step(db)
        await db.close()

    asyncio.run(later())
    assert run("verify", export, "--heads", kept).exit_code == 0


def test_a_witness_goes_on_where_a_crash_tore_its_last_line(run: Run, database: str, tmp_path: Path) -> None:
    kept = tmp_path / "heads.jsonl"

    async def look() -> None:
        db = opened(database)
        await Witness(kept).step(db)
        await db.close()

    asyncio.run(look())
    whole = kept.read_text()
    kept.write_text(whole[:-40])
    asyncio.run(look())
    lines = kept.read_text().splitlines()
    assert (len(lines), lines[3]) == (4, whole.splitlines()[2])
    assert run("verify", "--heads", kept).exit_code == 0
    heads = [chain.claimed_head(line) for line in lines]
    assert [head and head.chain for head in heads] == ["*", "IACB", None, "VA"]


def test_a_forged_line_of_the_witness_is_a_finding(run: Run, tmp_path: Path) -> None:
    kept = tmp_path / "heads.jsonl"
    forged = chain.Head("IACB", chain.End(99, "0" * 64), "2026-11-23T12:00:00.000000Z")
    kept.write_text(Signer(SigningKey.generate()).audit_head(forged) + "\n")
    done = run("verify", "--heads", kept)
    assert (done.exit_code, done.stdout) == (1, "?: the witness holds 1 ends that MGT did not sign\n")
