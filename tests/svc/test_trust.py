"""Trust files: what pins keys says exactly that, and only the keys before may say who comes next."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_svc.trust import (
    MAX_KEYS,
    MAX_STEPS,
    TRUST,
    Trust,
    appended,
    dump,
    dump_plain,
    dump_trust,
    last_step,
    load_trust,
    payload,
    succeed,
)
from hms_svc.wire import DECISION, Pins, Refused, b64, key_id, seal
from tests.svc.makers import GOV, MGT, STRANGER

ISSUED = "2026-11-23T12:00:00Z"
GOV2, MGT2 = SigningKey(b"G" * 32), SigningKey(b"M" * 32)
OLD = load_trust(dump_trust([GOV.verify_key], [MGT.verify_key]))


def pins(*keys: SigningKey, threshold: int = 1) -> Pins:
    return Pins(tuple(bytes(key.verify_key) for key in keys), threshold)


NEXT = Trust(pins(GOV, GOV2), pins(MGT2), 1)


def step(trust: Trust, *keys: SigningKey, kind: str = TRUST) -> dict[str, Any]:
    return seal(kind, payload(trust, ISSUED), *keys)


def file(*steps: dict[str, Any]) -> str:
    return dump({"version": 2, "steps": list(steps)})


def refusal(text: str, pinned: Trust = OLD) -> str:
    with pytest.raises(Refused) as caught:
        succeed(pinned, text)
    return caught.value.reason


def pin(key: SigningKey) -> dict[str, str]:
    return {"keyid": key_id(key.verify_key), "public": b64(bytes(key.verify_key))}


def test_a_plain_file_of_version_1_reads_back() -> None:
    trust = load_trust(dump_trust([GOV.verify_key, STRANGER.verify_key], [MGT.verify_key]))
    assert trust == Trust(pins(GOV, STRANGER), pins(MGT), 0)


def test_a_plain_file_of_version_2_reads_back() -> None:
    trust = Trust(pins(GOV, GOV2, threshold=2), pins(MGT), 7)
    assert load_trust(dump(payload(trust, ISSUED))) == trust


@pytest.mark.parametrize("trust", [OLD, NEXT])
def test_what_is_pinned_reads_back(trust: Trust) -> None:
    assert load_trust(dump_plain(trust, ISSUED)) == trust


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"version": 3}, "version 3"),
        ({"version": True}, "version True"),
        ({"version": None}, "version None"),
        ({"gov": []}, "no key under 'gov'"),
        ({"mgt": None}, "no key under 'mgt'"),
        ({"gov": ["x"]}, r"gov\[0\]"),
        ({"gov": [{}]}, r"gov\[0\]\.public"),
        ({"gov": [{"public": "AAAA"}]}, "32 bytes, not 3"),
        ({"gov": [pin(GOV) | {"keyid": "beef"}]}, "keyid is not this key's"),
        ({"gov": [pin(GOV), pin(GOV)]}, "twice"),
        ({"gov": [pin(SigningKey(bytes([n]) * 32)) for n in range(MAX_KEYS + 1)]}, "more than 16"),
        ({"gov": [pin(MGT)]}, "two signers need two keys"),
    ],
)
def test_a_bad_file_of_version_1_says_what_is_wrong(over: dict[str, Any], words: str) -> None:
    document = {"version": 1, "gov": [pin(GOV)], "mgt": [pin(MGT)]} | over
    with pytest.raises(ValueError, match=words):
        load_trust(json.dumps(document))


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"serial": 0}, "serial"),
        ({"serial": True}, "serial"),
        ({"serial": 2**63}, "serial"),
        ({"issued": "yesterday"}, "instant"),
        ({"gov": [pin(GOV)]}, "no key under 'gov'"),
        ({"gov": {"threshold": 2, "keys": [pin(GOV)]}}, "threshold of 'gov'"),
        ({"gov": {"threshold": 0, "keys": [pin(GOV)]}}, "threshold of 'gov'"),
        ({"gov": {"threshold": True, "keys": [pin(GOV)]}}, "threshold of 'gov'"),
        ({"gov": {"keys": [pin(GOV)]}}, "threshold of 'gov'"),
        ({"steps": []}, "1 to 64 steps"),
        ({"steps": ["x"]}, "does not hold"),
    ],
)
def test_a_bad_file_of_version_2_says_what_is_wrong(over: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        load_trust(json.dumps(payload(NEXT, ISSUED) | over))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"version":1,"version":1}', "\ud800", "[" * 100_000])
def test_a_trust_file_is_strict_json(text: str) -> None:
    with pytest.raises(ValueError, match="trust file"):
        load_trust(text)


def test_both_signers_together_move_the_trust_on() -> None:
    assert succeed(OLD, file(step(NEXT, GOV, MGT))) == NEXT


def test_the_same_file_again_changes_nothing() -> None:
    assert succeed(OLD, dump_trust([GOV.verify_key], [MGT.verify_key])) == OLD
    assert succeed(NEXT, file(step(NEXT, GOV, MGT))) == NEXT


@pytest.mark.parametrize(
    "keys",
    [(GOV,), (MGT,), (GOV2, MGT2), (GOV, MGT2), (GOV, MGT, GOV2), (GOV, STRANGER), (STRANGER, SigningKey(b"z" * 32))],
)
def test_too_few_too_many_or_new_signers_do_not(keys: Sequence[SigningKey]) -> None:
    assert refusal(file(step(NEXT, *keys))) == "wrong_signature"


def test_an_unsigned_replacement_is_refused_however_it_is_dressed() -> None:
    assert refusal(dump_trust([STRANGER.verify_key], [MGT.verify_key])) == "unsigned"
    assert refusal(dump(payload(NEXT, ISSUED))) == "unsigned"
    assert refusal(file(step(NEXT, GOV, MGT) | {"signatures": []})) == "unsigned"
    assert refusal(file(step(NEXT, GOV, MGT) | {"note": "x"})) == "malformed"
    assert refusal(file(step(NEXT, GOV, MGT)).replace("{", '{"note": 1, ', 1)) == "malformed"
    assert refusal(json.dumps(step(NEXT, GOV, MGT))) == "malformed"  # an envelope by itself is not a trust file


def test_an_older_or_equal_serial_is_refused() -> None:
    third = NEXT._replace(serial=3)
    assert refusal(dump_trust([GOV.verify_key], [MGT.verify_key]), third) == "replayed"
    for serial in (1, 2, 3):
        other = Trust(pins(GOV), pins(MGT2), serial)
        assert refusal(file(step(other, GOV, MGT2)), third) == "replayed"


def test_another_type_is_refused() -> None:
    assert refusal(file(step(NEXT, GOV, MGT, kind=DECISION))) == "wrong_type"
    assert refusal(file(step(NEXT, GOV, MGT, kind=DECISION) | {"payloadType": TRUST})) == "wrong_signature"


def test_a_threshold_counts_for_what_comes_next() -> None:
    two = Trust(pins(GOV, GOV2, threshold=2), pins(MGT), 1)
    after = Trust(pins(GOV), pins(MGT), 2)
    assert refusal(file(step(after, GOV, MGT)), two) == "wrong_signature"
    assert succeed(two, file(step(after, GOV, GOV2, MGT))) == after


def test_who_missed_steps_follows_them_one_by_one() -> None:
    third = Trust(pins(GOV2), pins(MGT2), 2)
    steps = [step(NEXT, GOV, MGT), step(third, GOV, MGT2)]
    assert succeed(OLD, file(*steps)) == third
    assert succeed(NEXT, file(*steps)) == third
    assert load_trust(file(*steps)) == third
    assert refusal(file(*reversed(steps))) == "malformed"
    with pytest.raises(Refused, match="step 2 of the trust file follows step 0: one is missing"):
        succeed(OLD, file(steps[1]))
    with pytest.raises(Refused, match="one is missing"):
        succeed(OLD, file(step(third, GOV, MGT)))


def test_who_signed_instead_is_named() -> None:
    ours, theirs = key_id(GOV.verify_key), key_id(STRANGER.verify_key)
    with pytest.raises(Refused, match=f"{theirs} signed, pinned are {ours}"):
        succeed(OLD, file(step(NEXT, STRANGER, MGT)))
    odd = step(NEXT, STRANGER, MGT)
    odd["signatures"] = sorted(
        [*(one for one in odd["signatures"] if one["keyid"] != theirs), {**odd["signatures"][0], "keyid": "\nZ" * 999}],
        key=lambda one: str(one["keyid"]),
    )[-2:]
    with pytest.raises(Refused) as refused:
        succeed(OLD, file(odd))
    assert "Z" not in refused.value.detail


def test_a_chain_that_does_not_hang_together_pins_nobody() -> None:
    third = Trust(pins(GOV2), pins(MGT2), 2)
    with pytest.raises(ValueError, match="no pinned key"):
        load_trust(file(step(NEXT, GOV, MGT), step(third, STRANGER, MGT2)))
    with pytest.raises(ValueError, match="step 1 of the trust file follows step 1"):
        load_trust(file(step(NEXT, GOV, MGT), step(NEXT, GOV, MGT2)))


def test_a_file_keeps_its_newest_steps() -> None:
    text = dump_trust([GOV.verify_key], [MGT.verify_key])
    for serial in range(1, MAX_STEPS + 3):
        text = appended(text, step(Trust(pins(GOV), pins(MGT), serial), GOV, MGT))
    assert len(json.loads(text)["steps"]) == MAX_STEPS
    assert load_trust(text).serial == MAX_STEPS + 2
    assert last_step(text) == step(Trust(pins(GOV), pins(MGT), MAX_STEPS + 2), GOV, MGT)


def test_a_plain_file_has_no_step_to_sign() -> None:
    with pytest.raises(ValueError, match="plain"):
        last_step(dump_trust([GOV.verify_key], [MGT.verify_key]))
