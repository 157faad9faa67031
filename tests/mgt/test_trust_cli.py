"""How operators rotate keys: the commands of MGT and GOV, against real patches in a real database."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from nacl.signing import SigningKey
from typer.testing import CliRunner, Result

from hms_gov.__main__ import cli as gov_cli
from hms_mgt.bootstrap import read_keys, write_keys
from hms_mgt.cli import cli
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.store.trail import Act
from hms_mgt.usecases.send import heal, send_pending
from hms_svc import messages, wire
from hms_svc.trust import dump_trust, load_trust, succeed
from tests.mgt.conftest import Play, World
from tests.mgt.history import act
from tests.mgt.steps import review

Hms = Callable[..., Result]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def hms(database: str, keys: Path) -> Hms:
    """`hms-mgt`, or with `gov=True` `hms-gov`, beside these keys."""

    def command(*arguments: str | Path, gov: bool = False, key: str = "gov.key") -> Result:
        environment = {"HMS_DATABASE_URL": database, "HMS_KEYS": str(keys), "HMS_GOV_KEY": str(keys / key)}
        words = [str(one) for one in arguments]
        return CliRunner().invoke(gov_cli if gov else cli, words, env=environment)

    return command


@pytest.fixture
def standing(play: Play, keys: Path) -> int:
    """A patch in force, signed by the keys in the directory. Its id."""
    made: list[int] = []
    pair: list[SigningKey] = []

    async def scene(world: World) -> None:
        made.append(await world.submit())
        await review(world)
        pair.extend((world.governance.key, world.mgt_key))

    play(scene)
    gov, mgt = pair
    keys.mkdir()
    (keys / "gov.key").write_text(wire.dump_signing_key(gov))
    (keys / "mgt.key").write_text(wire.dump_signing_key(mgt))
    (keys / "trust.json").write_text(dump_trust([gov.verify_key], [mgt.verify_key]))
    return made[0]


def public(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return result.stdout.strip()


def test_a_key_is_rotated_by_both_signers_together(hms: Hms, keys: Path, standing: int, tmp_path: Path) -> None:
    old, out = (keys / "trust.json").read_text(), tmp_path / "next.json"
    new = public(hms("trust", "key", keys / "gov.key.new"))
    done = hms("trust", "next", "--gov-add", new, "--out", out)
    assert done.exit_code == 0, done.output
    with pytest.raises(wire.Refused, match="must carry 2 signatures"):
        succeed(load_trust(old), out.read_text())
    signed = hms("trust", "sign", out, gov=True)
    assert signed.exit_code == 0, signed.output
    assert wire.key_id(wire.load_public_key(new)) in signed.stdout, "GOV sees whom it lets in"
    after = succeed(load_trust(old), out.read_text())
    assert (after.serial, len(after.gov.keys), after.mgt) == (1, 2, load_trust(old).mgt)
    out.replace(keys / "trust.json")
    shown = hms("trust", "show")
    assert shown.exit_code == 0, shown.output
    assert f"needed by 1 standing patches: {standing}" in shown.stdout
    assert "no standing patch needs it" in shown.stdout
    assert "serial 1" in shown.stdout


@pytest.mark.usefixtures("standing")
def test_the_audit_stays_whole_while_processes_sign_with_the_old_key_and_the_new(
    hms: Hms, keys: Path, database: str, tmp_path: Path
) -> None:
    """The old key is pinned no more; what it signed of the audit stays MGT's own, and processes meet each other's."""
    out, old = tmp_path / "next.json", public(hms("trust", "id", keys / "mgt.key"))
    before, _ = read_keys(keys)
    new = public(hms("trust", "key", keys / "mgt.key.new"))
    assert hms("trust", "next", "--mgt-add", new, "--drop", old, "--out", out).exit_code == 0
    assert hms("trust", "sign", out, gov=True).exit_code == 0
    out.replace(keys / "trust.json")
    (keys / "mgt.key.new").replace(keys / "mgt.key")
    after, trust = read_keys(keys)
    assert trust.mgt.keys == (wire.load_public_key(new),)

    async def scene() -> None:
        processes = [Database(database, signer) for signer in (before, after)]
        for number in range(4):
            for tenant, process in (("IACB", processes[number % 2]), ("VA", processes[1 - number % 2])):
                await act(process, Act(tenant, "ops", "denied", f"patch/{number}"), at=datetime.now(UTC))
        for process in processes:
            await process.close()

    asyncio.run(scene())
    verified = hms("audit", "verify")
    assert verified.exit_code == 0, verified.output
    (tmp_path / "audit.jsonl").write_text(hms("audit", "export").stdout)
    elsewhere = hms("audit", "verify", tmp_path / "audit.jsonl", "--trust", keys / "trust.json")
    assert elsewhere.exit_code == 0, elsewhere.output


def test_a_key_that_patches_stand_on_is_dropped_only_on_purpose(
    hms: Hms, keys: Path, standing: int, tmp_path: Path
) -> None:
    trust, out = load_trust((keys / "trust.json").read_text()), tmp_path / "next.json"
    new = public(hms("trust", "key", keys / "gov.key.new"))
    old = wire.key_id(trust.gov.keys[0])
    arguments = ("trust", "next", "--gov-add", new, "--drop", old, "--out", out)
    refused = hms(*arguments)
    assert refused.exit_code == 2
    assert f"patch {standing} (IACB/ARTIST_REGISTRY_API, until" in refused.stderr
    assert not out.exists()
    raised = hms("trust", "next", "--gov-add", new, "--gov-threshold", "2", "--out", out)
    assert raised.exit_code == 2, "a decision is signed once, so a higher threshold leaves it behind as well"
    assert hms(*arguments, "--force").exit_code == 0
    assert hms("trust", "sign", out, gov=True).exit_code == 0
    assert succeed(trust, out.read_text()).gov.keys == (wire.load_public_key(new),)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--drop", "beef"), "no such key"),
        ((), "nothing would change"),
        (("--gov-add", "x"), "not a public key"),
        (("--mgt-threshold", "2"), "threshold of 'mgt'"),
    ],
)
def test_a_file_nobody_could_use_is_not_made(
    hms: Hms, keys: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    write_keys(keys)
    done = hms("trust", "next", *arguments, "--out", tmp_path / "next.json")
    assert (done.exit_code, words in done.stderr) == (2, True), done.output
    assert not (tmp_path / "next.json").exists()


def test_gov_signs_nothing_but_a_signed_trust_file(hms: Hms, keys: Path) -> None:
    write_keys(keys)
    before = (keys / "trust.json").read_text()
    done = hms("trust", "sign", keys / "trust.json", gov=True)
    assert (done.exit_code, "plain" in done.stderr) == (2, True), done.output
    assert (keys / "trust.json").read_text() == before


def test_keys_are_never_overwritten_and_stay_private(hms: Hms, tmp_path: Path) -> None:
    path = tmp_path / "mgt-2.key"
    shown = public(hms("trust", "key", path))
    assert path.stat().st_mode & 0o077 == 0
    made = wire.load_signing_key(path.read_text())
    assert wire.load_public_key(shown) == bytes(made.verify_key)
    assert hms("trust", "key", path).exit_code == 2
    assert wire.load_signing_key(path.read_text()) == made


def test_several_keys_are_made_to_sign_together(hms: Hms, keys: Path) -> None:
    done = hms("keys", "--out", keys, "--gov", "2", "--mgt", "3")
    assert done.exit_code == 0, done.output
    signer, trust = read_keys(keys)
    assert (trust.gov.threshold, trust.mgt.threshold, trust.serial) == (2, 3, 1)
    beat = signer.stream_message(messages.heartbeat_payload("IACB", 0.0, {}))
    assert len(json.loads(beat)["signatures"]) == 3
    assert isinstance(messages.read_message(beat, trust, "IACB"), messages.Heartbeat)


def test_mgt_does_not_start_with_keys_that_sidecars_would_refuse(keys: Path) -> None:
    write_keys(keys, mgt=2)
    (keys / "mgt-2.key").rename(keys / "aside")
    with pytest.raises(ValueError, match="wants exactly 2 signatures"):
        read_keys(keys)
    (keys / "mgt-2.key").write_text(wire.dump_signing_key(SigningKey.generate()))
    with pytest.raises(ValueError, match="does not pin MGT's key"):
        read_keys(keys)


def test_mgt_does_not_start_with_a_file_that_gov_has_not_signed(hms: Hms, keys: Path) -> None:
    write_keys(keys)
    new = public(hms("trust", "key", keys / "mgt.key.new"))
    # The database is asked what stands; here nothing does.
    done = hms("trust", "next", "--mgt-add", new, "--out", keys / "next.json")
    assert done.exit_code == 0, done.output
    (keys / "next.json").replace(keys / "trust.json")
    with pytest.raises(ValueError, match="GOV has not signed"):
        read_keys(keys)
    assert hms("trust", "sign", keys / "trust.json", gov=True).exit_code == 0
    read_keys(keys)
    for words in ((keys / "trust.json",), (keys / "nothing",)):
        refused = hms("trust", "id", *words)
        assert (refused.exit_code, refused.stdout) == (2, ""), "a file that holds no signing key has no id"


def test_snapshots_are_signed_anew_when_other_keys_sign(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        await review(world)
        await send_pending(world.db, world.bus, world.clock)
        new = SigningKey.generate()
        trust = world.trust._replace(mgt=wire.Pins((new.verify_key,)))
        with pytest.raises(wire.Refused):
            messages.read_message(world.bus.stored["IACB", "ARTIST_REGISTRY_API"], trust, "IACB")
        world.clock.forward(seconds=5)
        await heal(world.db, world.bus, Signer(new), world.clock)
        again = world.bus.stored["IACB", "ARTIST_REGISTRY_API"]
        told = messages.read_message(again, trust, "IACB")
        assert isinstance(told, messages.StreamMessage)
        assert (told.revision, len(told.patches)) == (1, 1)
        world.clock.forward(seconds=5)
        await heal(world.db, world.bus, Signer(new), world.clock)
        assert world.bus.stored["IACB", "ARTIST_REGISTRY_API"] == again

    play(scene)
