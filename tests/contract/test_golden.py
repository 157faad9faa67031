"""The contract between control plane and agents, as messages that were written once.

The files under `golden/` were sealed with the two fixed keys below. Those of today pin how messages are spelled; the
`newer_` ones carry fields this code has never heard of, as a later control plane's will; each file under
`golden/refused` is named after the reason it must be refused for (up to a hyphen). The `two_` ones are signed by two
keys of each signer, as `trust_2.json` pins them; `trust_signed.json` is the same trust as signed by the one before.
What is not signed may not stand in a message, so the newer ones carry nothing new outside of their payloads. A change
that fails here breaks agents in the field: it needs a new version of the format, not a new golden file.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_svc.layers import effective_digest
from hms_svc.messages import (
    Heartbeat,
    StreamMessage,
    delta_payload,
    entry,
    heartbeat_payload,
    read_message,
    snapshot_payload,
)
from hms_svc.trust import TRUST, Trust, dump, dump_trust, load_trust, payload, succeed
from hms_svc.wire import ADMIT_ALL, DECISION, STREAM, Pins, Refused, instant, seal, unseal
from tests.svc.makers import in_force

GOLDEN = Path(__file__).parent / "golden"
GOV = SigningKey(b"golden governance key, test only")
MGT = SigningKey(b"golden management key, test only")
GOV2 = SigningKey(b"golden governance key 2, testing")
MGT2 = SigningKey(b"golden management key 2, testing")
TENANT = "IACB"
SERVICE = "ARTIST_REGISTRY_API"
ISSUED = instant("2026-11-19T12:00:00.25Z")

HOLIDAY: dict[str, Any] = {
    "v": 1,
    "decision_id": "9f0c",
    "verdict": "allow",
    "patch_id": 784,
    "tenant": TENANT,
    "service": SERVICE,
    "version_selector": ">=2.1.0",
    "changes": {"rate_limit_rps": 200, "replicas": 6},
    "window": {"start": "2026-11-20T00:00:00.000000Z", "end": "2026-12-05T00:00:00.000000Z"},
    "priority": 0,
    "reasons": ["within the platform cap"],
    "obligations": [],
    "policy_revision": "sha256:4bf5",
    "issued": "2026-11-19T11:59:58.000000Z",
    "expires": "2026-12-05T00:00:00.000000Z",
}
STANDING = HOLIDAY | {
    "decision_id": "9f0d",
    "patch_id": 785,
    "changes": {"db.pool": 20, "motd": "Grüße 🎉", "limits": {"burst": None, "ratio": 0.5}},
    "window": {"start": "2026-11-21T00:00:00.000000Z", "end": None},
    "priority": 10,
    "expires": None,
}

APPROVALS = [
    {"approver": "ann", "role": "approver", "at": "2026-11-19T11:59:59Z"},
    {"approver": "ben", "role": "release_manager", "at": "2026-11-19T11:30:00Z"},
]


def golden(name: str) -> str:
    return (GOLDEN / name).read_text(encoding="utf-8")


def sent(name: str) -> str:
    """The message as it travels: the files are laid out for people."""
    return json.dumps(json.loads(golden(name)))


def read(name: str) -> StreamMessage | Heartbeat:
    return read_message(sent(name), load_trust(golden("trust.json")), TENANT)


def decided(decision: dict[str, Any]) -> dict[str, Any]:
    return seal(DECISION, decision, GOV)


def today() -> dict[str, dict[str, Any]]:
    """The payloads of today's messages, by file."""
    first = entry(1, ADMIT_ALL, decided(HOLIDAY))
    second = entry(2, 429_496_730, decided(STANDING))
    return {
        "snapshot.json": snapshot_payload(TENANT, SERVICE, 7, ISSUED, [first, second]),
        "delta.json": delta_payload(TENANT, SERVICE, 8, ISSUED, [second], [784, 790]),
        "approved_snapshot.json": snapshot_payload(
            TENANT, SERVICE, 9, ISSUED, [entry(1, ADMIT_ALL, decided(HOLIDAY), reversed(APPROVALS))]
        ),
        "heartbeat.json": heartbeat_payload(TENANT, ISSUED, {SERVICE: 8, "BILLING": 1}),
    }


@pytest.mark.parametrize("name", today())
def test_todays_messages_are_spelled_as_ever(name: str) -> None:
    assert seal(STREAM, today()[name], MGT) == json.loads(golden(name))


def test_the_trust_file_is_spelled_as_ever() -> None:
    assert dump_trust([GOV.verify_key], [MGT.verify_key]) == golden("trust.json")
    assert load_trust(golden("trust.json")) == Trust(pins(1, GOV), pins(1, MGT))


def pins(threshold: int, *keys: SigningKey) -> Pins:
    return Pins(tuple(bytes(key.verify_key) for key in keys), threshold)


TWO = Trust(pins(2, GOV, GOV2), pins(2, MGT, MGT2), 1)
STAMP = "2026-11-19T12:00:00.000000Z"


def test_a_trust_file_with_thresholds_is_spelled_as_ever() -> None:
    assert dump(payload(TWO, STAMP)) == golden("trust_2.json")
    assert load_trust(golden("trust_2.json")) == TWO


def test_a_signed_trust_file_is_spelled_as_ever_and_follows_the_one_before() -> None:
    step = seal(TRUST, payload(TWO, STAMP), GOV, MGT)
    assert dump({"version": 2, "steps": [step]}) == golden("trust_signed.json")
    assert succeed(load_trust(golden("trust.json")), golden("trust_signed.json")) == TWO


def test_what_two_keys_of_each_signer_signed_is_spelled_as_ever_and_reads() -> None:
    carried = entry(1, ADMIT_ALL, seal(DECISION, HOLIDAY, GOV2, GOV))
    snapshot = snapshot_payload(TENANT, SERVICE, 7, ISSUED, [carried])
    assert seal(STREAM, snapshot, MGT2, MGT) == json.loads(golden("two_snapshot.json"))
    message = read_message(sent("two_snapshot.json"), TWO, TENANT)
    assert isinstance(message, StreamMessage)
    assert [len(patch.envelope["signatures"]) for patch in message.patches] == [2]
    for name, trust in (("two_snapshot.json", load_trust(golden("trust.json"))), ("snapshot.json", TWO)):
        with pytest.raises(Refused, match="wrong_signature"):
            read_message(sent(name), trust, TENANT)


@pytest.mark.parametrize("name", ["snapshot.json", "newer_snapshot.json"])
def test_a_snapshot_reads(name: str) -> None:
    message = read(name)
    assert isinstance(message, StreamMessage)
    assert (message.kind, message.service, message.revision, message.previous) == ("snapshot", SERVICE, 7, 6)
    assert (message.issued, message.ended) == (ISSUED, ())
    holiday, standing = message.patches
    assert (holiday.id, holiday.order, holiday.admit_below, holiday.priority) == (784, 1, ADMIT_ALL, 0)
    assert (holiday.start, holiday.end, holiday.expires) == (1_795_132_800.0, 1_796_428_800.0, 1_796_428_800.0)
    assert (standing.id, standing.order, standing.admit_below, standing.priority) == (785, 2, 429_496_730, 10)
    assert (standing.end, standing.expires) == (None, None)
    assert standing.changes == {"db": {"pool": 20}, "motd": "Grüße 🎉", "limits": {"burst": None, "ratio": 0.5}}


def test_who_approved_is_signed_in_the_order_of_names_and_an_agent_need_not_know() -> None:
    message = read("approved_snapshot.json")
    assert isinstance(message, StreamMessage)
    assert [patch.id for patch in message.patches] == [784]
    payload = unseal(sent("approved_snapshot.json"), STREAM, Pins((MGT.verify_key,)))
    assert payload["patches"][0]["approvals"] == APPROVALS


def test_a_delta_reads() -> None:
    message = read("delta.json")
    assert isinstance(message, StreamMessage)
    assert (message.kind, message.revision, message.previous, message.ended) == ("delta", 8, 7, (784, 790))
    assert [patch.id for patch in message.patches] == [785]


@pytest.mark.parametrize("name", ["heartbeat.json", "newer_heartbeat.json"])
def test_a_heartbeat_reads(name: str) -> None:
    assert read(name) == Heartbeat(TENANT, ISSUED, {SERVICE: 8, "BILLING": 1})


@pytest.mark.parametrize("path", sorted((GOLDEN / "refused").iterdir()), ids=lambda path: path.stem)
def test_a_hostile_message_is_refused_for_its_reason(path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read(f"refused/{path.name}")
    assert caught.value.reason == path.stem.partition("-")[0]


def test_both_ends_name_an_effect_alike() -> None:
    """An instance reports the digest of what it made effective; the control plane compares it with its own."""
    message = read("snapshot.json")
    assert isinstance(message, StreamMessage)
    layers = in_force(message.patches, "2.1.0-cdc-boosters", "pod-7", instant("2026-11-25T00:00:00Z"))
    assert [patch.id for patch in layers] == [784]
    assert effective_digest(layers) == "209b0fdc65271dd58f6cc088067b7a47d870957463f05ee85415eb7b26d10d4a"
