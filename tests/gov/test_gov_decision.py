"""What is signed: the statement is pure, and the envelope verifies or is refused."""

import json

import pytest
from nacl.signing import SigningKey

from hms_gov.decision import answer, statement
from hms_gov.policy import Judgement
from hms_gov.question import Question
from hms_svc import wire

from .samples import body

ALLOWED = Judgement((), ({"approvals": 1},), "sha256:1")
DENIED = Judgement(("no", "never"), (), "sha256:1")
ISSUED = 1_732_060_800.25


def question(**other: object) -> Question:
    return Question.model_validate_json(json.dumps(body(**other)))


def test_the_statement_repeats_what_an_agent_acts_on() -> None:
    assert statement(question(), ALLOWED, "dec_1", ISSUED) == {
        "v": 1,
        "decision_id": "dec_1",
        "verdict": "allow",
        "patch_id": 784,
        "tenant": "IACB",
        "service": "ARTIST_REGISTRY_API",
        "version_selector": ">=2.1.0",
        "changes": {"rate_limit_rps": 200, "replicas": 6},
        "window": {"start": "2024-11-20T00:00Z", "end": "2024-12-05T00:00Z"},
        "priority": 0,
        "reasons": [],
        "obligations": [{"approvals": 1}],
        "policy_revision": "sha256:1",
        "issued": "2024-11-20T00:00:00.250000Z",
        "expires": "2024-12-05T00:00Z",
    }


def test_a_patch_without_an_end_has_a_decision_without_one() -> None:
    payload = statement(question(window={"start": "2024-11-20T00:00:00Z"}), ALLOWED, "dec_1", ISSUED)
    assert payload["expires"] is None
    assert payload["window"]["end"] is None


@pytest.mark.parametrize("judgement", [ALLOWED, DENIED])
def test_allow_and_deny_are_signed_alike(judgement: Judgement) -> None:
    key = SigningKey.generate()
    payload = statement(question(), judgement, "dec_1", ISSUED)
    envelope = wire.seal(wire.DECISION, payload, key)
    assert wire.unseal(envelope, wire.DECISION, wire.Pins((key.verify_key,))) == payload
    with pytest.raises(wire.Refused):
        wire.unseal(envelope, wire.DECISION, wire.Pins((SigningKey.generate().verify_key,)))
    with pytest.raises(wire.Refused):
        wire.unseal(envelope, wire.STREAM, wire.Pins((key.verify_key,)))


def test_the_answer_tells_the_verdict_beside_the_envelope() -> None:
    payload = statement(question(), DENIED, "dec_1", ISSUED)
    assert answer(payload, {"sealed": True}) == {
        "decision": {"sealed": True},
        "decision_id": "dec_1",
        "verdict": "deny",
        "reasons": ["no", "never"],
        "policy_revision": "sha256:1",
    }
