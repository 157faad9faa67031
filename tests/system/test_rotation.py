"""Keys are exchanged by the documentation's own commands while sidecars and patches stand."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from hms_svc import messages, wire
from tests.conditions import THOROUGH
from tests.svc_io.rig import Agent, Redis
from tests.svc_io.rig import until as soon

from .production import Away, Production, blocks
from .system import TENANT

PIN_MGT, DROP_MGT, PIN_GOV, DROP_GOV, AT_ONCE = blocks("operations.md", "Keys")
thorough = pytest.mark.skipif(not THOROUGH, reason="starts a control plane for each")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Redis]:
    made = Redis(tmp_path / "redis")
    yield made
    made.kill()


@pytest.fixture
def plant(tmp_path: Path, database: str, broker: Redis) -> Iterator[Production]:
    made = Production(tmp_path, database, broker.url)
    try:
        yield made
    finally:
        made.close()


def shows(agent: Agent, *words: str) -> None:
    soon(lambda: all(word in agent.conf.read_text() for word in words), f"{words} in conf.yml", 20)


def names_the_stranger(agent: Agent, signer: str) -> None:
    """It says which key it met, and which it was told to believe."""
    soon(
        lambda: any(f"{signer} signed, pinned are" in one["detail"] for one in agent.events("refused")),
        "the refusal",
        20,
    )


def refuses(broker: Redis, stolen: SigningKey, *agents: Agent) -> None:
    """What the old key signs counts no more. It is counted, for of lines there are ten a minute at most."""
    before = [refusals(one) for one in agents]
    forged = messages.heartbeat_payload(TENANT, time.time(), {})
    broker.client.publish(f"cfg::{TENANT}", json.dumps(wire.seal(wire.STREAM, forged, stolen)))
    soon(lambda: all(refusals(one) > old for one, old in zip(agents, before, strict=True)), "the refusals", 20)


def refusals(agent: Agent) -> int:
    told = json.loads(agent.run("status", "-o", "json").stdout)
    return int(told["refused"].get("wrong_signature", 0))


def key_of(plant: Production, name: str) -> str:
    return wire.key_id(wire.load_signing_key((plant.keys / name).read_text()).verify_key)


def test_the_key_of_mgt_at_once_whatever_comes_first(plant: Production, broker: Redis) -> None:
    here, away, late = (plant.sidecar(number) for number in (1, 2, 3))
    for one in (here, away, late):
        one.start()
    plant.start()
    plant.applies({"rate_limit_rps": 60})
    away.kill()
    stolen = wire.load_signing_key((plant.keys / "mgt.key").read_text())
    plant.pastes(AT_ONCE)
    gone = Away()
    plant.distributes(here)
    here.wait_for("trust_moved_on")
    plant.restart("api", "worker")
    second = plant.submit({"greeting": "new"})
    shows(here, "60", "new")
    names_the_stranger(late, key_of(plant, "mgt.key"))  # MGT was first: this one has no file yet
    shows(late, "60", "hello")
    away.start()  # with the old keys kept, and the old file
    names_the_stranger(away, key_of(plant, "mgt.key"))
    shows(away, "60", "hello")
    plant.distributes(late, away)
    for one in (late, away):
        shows(one, "60", "new")
    plant.reaches(second, "APPLIED")
    assert gone.excuses() or not any(one.events("stale") for one in (here, away, late))
    refuses(broker, stolen, here, away, late)
    assert "tampered" not in plant.log("api") + plant.log("worker")
    plant.manages("audit", "verify")


def believed_throughout(agents: list[Agent], moves: int) -> None:
    """They took over each file, and refused nothing of MGT on the way."""
    for one in agents:
        assert len(one.wait_for("trust_moved_on", moves)) == moves
        assert not [event for event in one.events("refused") if "signed, pinned are" in event["detail"]]
        assert not one.events("stale")


@thorough
def test_each_key_in_two_steps_and_nobody_misses_a_word(plant: Production, broker: Redis) -> None:
    agents = [plant.sidecar(number).start() for number in (1, 2)]
    plant.start()
    first = plant.applies({"rate_limit_rps": 60})
    stolen = wire.load_signing_key((plant.keys / "mgt.key").read_text())
    plant.pastes(PIN_MGT)
    plant.distributes(*agents)
    believed_throughout(agents, 1)
    plant.pastes(DROP_MGT)
    plant.restart("api", "worker")
    plant.applies({"greeting": "by the new key"})
    plant.pastes("cp next.json keys/trust.json")
    plant.distributes(*agents)
    believed_throughout(agents, 2)
    refuses(broker, stolen, *agents)
    rotates_gov(plant, agents, first)
    for one in agents:
        assert "rate_limit_rps: 50" in one.conf.read_text()
        assert not one.events("stale")
    plant.restart("api", "worker")
    plant.manages("audit", "verify")


def rotates_gov(plant: Production, agents: list[Agent], standing: int) -> None:
    """With GOV signing by the new key before MGT knows it, as an operator may get it wrong."""
    plant.pastes(PIN_GOV)
    plant.distributes(*agents)
    for one in agents:
        one.wait_for("trust_moved_on", 3)
    refused = plant.types("bash", "-euc", DROP_GOV, fails=True)
    assert f"patch {standing} ({TENANT}/" in refused
    plant.restart("gov")
    third = plant.submit({"third": "decided by the new key"})
    soon(lambda: "does not verify" in (plant.patch(third)["status_reason"] or ""), "the reason", 20)
    plant.restart("api", "worker")
    plant.reaches(third, "APPLIED")
    plant.roll_back(*(number for number in (1, 2) if number != third))
    old = next(key for key in plant.trusted().gov.names if key != key_of(plant, "gov.key"))
    plant.pastes(f"old={old}\n" + DROP_GOV.split("\n", 2)[2])
    plant.distributes(*agents)
    for one in agents:
        one.wait_for("trust_moved_on", 4)
        shows(one, "third")


@thorough
def test_two_of_three_where_one_goes_and_one_comes(tmp_path: Path, database: str, broker: Redis) -> None:
    """MGT changes to two keys that both files pin, so that it is believed before and after."""
    plant = Production(tmp_path, database, broker.url, keys=("--gov", "2", "--mgt", "2"))
    both = "HMS_GOV_KEY=keys/gov.key,keys/gov-2.key hms-gov trust sign next.json\ncp next.json keys/trust.json\n"
    try:
        agents = [plant.sidecar(number).start() for number in (1, 2)]
        plant.start()
        plant.applies({"rate_limit_rps": 60})
        third = "hms-mgt trust next --mgt-add $(hms-mgt trust key keys/third) --gov-add $(hms-mgt trust key keys/g3)"
        plant.pastes(f"{third} --out next.json\n{both}")
        assert [pins[1] for pins in plant.trusted()[:2]] == [2, 2]
        plant.distributes(*agents)
        believed_throughout(agents, 1)
        swap = "hms-mgt trust next --mgt-add $(hms-mgt trust key keys/fourth) --drop $(hms-mgt trust id keys/mgt.key)"
        plant.pastes(f"{swap} --out next.json\nmv keys/third keys/mgt.key\n")
        plant.restart("api", "worker")
        plant.applies({"greeting": "by two others"})
        plant.pastes(both)
        plant.distributes(*agents)
        believed_throughout(agents, 2)
        for one in agents:
            one.kill()
            one.start()
        plant.applies({"third": "after a restart"})
        plant.manages("audit", "verify")
    finally:
        plant.close()
