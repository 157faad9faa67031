"""A hostile broker can push nothing: no byte changes, and each refusal is logged and counted."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_svc.messages import delta_payload, entry, snapshot_payload
from hms_svc.wire import ADMIT_ALL, DECISION, STREAM, seal

from .rig import SERVICE, TENANT, Acks, Agent, Control, until

CHANGES = {"rate_limit_rps": 999}


def delta(put: list[dict[str, Any]], revision: int, **other: Any) -> dict[str, Any]:
    return delta_payload(TENANT, SERVICE, revision, time.time(), put, []) | other


def signed(payload: dict[str, Any], key: SigningKey, kind: str = STREAM) -> str:
    return json.dumps(seal(kind, payload, key))


def garbage(_: Control) -> str:
    return "\x00 not json {"


def plain_json(_: Control) -> str:
    return json.dumps({"tenant": TENANT, "service": SERVICE, "changes": CHANGES})


def stripped(control: Control) -> str:
    return json.dumps(seal(STREAM, delta([control.entry(9, CHANGES)], 2), control.mgt) | {"signatures": []})


def other_key(control: Control) -> str:
    return signed(delta([control.entry(9, CHANGES)], 2), SigningKey.generate())


def decision_by_mgt(control: Control) -> str:
    decision = seal(DECISION, control.decision(9, CHANGES), control.mgt)
    return signed(delta([entry(9, ADMIT_ALL, decision)], 2), control.mgt)


def decision_as_stream(control: Control) -> str:
    return signed(control.decision(9, CHANGES), control.gov, DECISION)


def other_tenant(control: Control) -> str:
    return signed(delta([control.entry(9, CHANGES)], 2, tenant="VA"), control.mgt)


def decision_of_another_tenant(control: Control) -> str:
    return signed(delta([control.entry(9, CHANGES, tenant="VA")], 2), control.mgt)


def decision_of_another_service(control: Control) -> str:
    return signed(delta([control.entry(9, CHANGES, service="BILLING")], 2), control.mgt)


def denied(control: Control) -> str:
    return signed(delta([control.entry(9, CHANGES, verdict="deny")], 2), control.mgt)


def replayed(control: Control) -> str:
    return signed(delta([control.entry(9, CHANGES)], 1), control.mgt)


def future_version(control: Control) -> str:
    return signed(delta([], 2, v=2), control.mgt)


def too_large(_: Control) -> str:
    return " " * 300_000


def unsigned_field(control: Control) -> str:
    return json.dumps(seal(STREAM, delta([control.entry(9, CHANGES)], 2), control.mgt) | {"revision": 2})


def one_signature_more(control: Control) -> str:
    return json.dumps(seal(STREAM, delta([control.entry(9, CHANGES)], 2), control.mgt, SigningKey.generate()))


def doubled(control: Control) -> str:
    envelope = seal(STREAM, delta([control.entry(9, CHANGES)], 2), control.mgt)
    return json.dumps(envelope | {"signatures": envelope["signatures"] * 2})


def old_heartbeat(control: Control) -> str:
    return control.heartbeat(issued=time.time() - 60)


@pytest.mark.parametrize(
    ("forge", "reason"),
    [
        (garbage, "malformed"),
        (plain_json, "wrong_type"),
        (stripped, "unsigned"),
        (other_key, "wrong_signature"),
        (decision_by_mgt, "wrong_signature"),
        (decision_as_stream, "wrong_type"),
        (other_tenant, "wrong_tenant"),
        (decision_of_another_tenant, "wrong_tenant"),
        (decision_of_another_service, "wrong_service"),
        (denied, "denied"),
        (replayed, "replayed"),
        (future_version, "unsupported"),
        (too_large, "too_large"),
        (old_heartbeat, "expired"),
        (unsigned_field, "malformed"),
        (one_signature_more, "wrong_signature"),
        (doubled, "wrong_signature"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_published_by_hand_it_changes_nothing(
    agent: Agent, control: Control, acks: Acks, forge: Callable[[Control], str], reason: str
) -> None:
    agent.start()
    control.put(1, {"rate_limit_rps": 60})
    acks.wait_active(1)
    before, stat = agent.conf.read_bytes(), agent.conf.stat()
    control.send(forge(control))
    refused = agent.wait_for("refused")
    assert refused[0]["reason"] == reason
    assert refused[0]["detail"]
    until(lambda: acks.last()["refused"] == {reason: 1}, "the count in a report")
    assert agent.conf.read_bytes() == before
    assert (agent.conf.stat().st_mtime_ns, agent.conf.stat().st_ino) == (stat.st_mtime_ns, stat.st_ino)
    assert acks.last()["active"] == [1]


def test_a_snapshot_key_filled_by_a_stranger_is_refused(agent: Agent, control: Control) -> None:
    stranger = Control(control.client)
    stranger.step([stranger.entry(9, CHANGES)], [])
    stranger.keep(stranger.snapshot())
    before = agent.conf.read_bytes()
    agent.start()
    refused = agent.wait_for("refused")
    assert refused[0]["reason"] == "wrong_signature"
    assert agent.conf.read_bytes() == before


def test_an_older_snapshot_takes_nothing_back(agent: Agent, control: Control, acks: Acks) -> None:
    control.put(1, {"rate_limit_rps": 60})
    old = control.snapshot()
    control.put(2, {"replicas": 6})
    agent.start()
    acks.wait_active(1, 2)
    agent.kill()
    control.keep(old)
    agent.start()
    until(lambda: acks.last()["refused"] == {"replayed": 1}, "the refusal in a report")
    assert acks.last()["revision"] == 2
    assert acks.wait_active(1, 2)


def test_a_heartbeat_counts_once(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    agent.wait_for("linked")
    beat = control.heartbeat()
    for _ in range(3):
        control.send(beat)
    until(lambda: acks.last().get("refused") == {"replayed": 2}, "both replays refused")


def test_a_control_plane_behind_what_is_held_is_told_in_the_report(agent: Agent, control: Control, acks: Acks) -> None:
    for limit in (200, 300):
        control.put(1, {"rate_limit_rps": limit})
    agent.start()
    acks.wait_active(1)
    control.revision = 1  # as after its database was restored
    for _ in range(2):
        control.send(control.heartbeat())
    until(lambda: "revision 2 is held and the control plane is behind it" in str(acks.last()["trouble"]), "the trouble")
    assert acks.last()["active"] == [1]


def test_a_snapshot_of_another_service_is_refused(agent: Agent, control: Control) -> None:
    payload = snapshot_payload(TENANT, "BILLING", 3, time.time(), [])
    control.keep(signed(payload, control.mgt))
    agent.start()
    assert agent.wait_for("refused")[0]["reason"] == "wrong_service"


def test_a_patch_that_comes_after_its_end_is_refused(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    before = agent.conf.read_bytes()
    control.put(1, CHANGES, start=time.time() - 60, end=time.time() - 1)
    assert agent.wait_for("refused")[0]["reason"] == "expired"
    until(lambda: acks.last()["refused"] == {"expired": 1}, "the count")
    assert agent.conf.read_bytes() == before


def test_other_services_and_versions_and_cohorts_are_not_ours(agent: Agent, control: Control, acks: Acks) -> None:
    agent.start()
    acks.wait_active()
    control.publish(
        [
            control.entry(1, CHANGES, version_selector=">=3"),
            control.entry(2, CHANGES, admit_below=0),
            control.entry(3, {"replicas": 6}),
        ]
    )
    neighbour = Control(control.client, service="BILLING")
    neighbour.gov, neighbour.mgt = control.gov, control.mgt
    neighbour.put(4, CHANGES)
    report = acks.wait_active(3)
    assert report["refused"] == {}
    assert acks.receipts(1) == acks.receipts(2) == acks.receipts(4) == []
    assert "999" not in agent.conf.read_text()
