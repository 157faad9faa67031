"""Envelopes, keys and instants: what is not exactly ours is refused, and nothing but `Refused` is raised."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from hms_svc.wire import (
    DECISION,
    MAX_BYTES,
    STREAM,
    Pins,
    Refused,
    countersign,
    dump_signing_key,
    instant,
    key_id,
    load_signing_key,
    pae,
    rfc3339,
    seal,
    spelled,
    unseal,
)
from tests.svc.makers import GOV, STRANGER, documents

KEYS = Pins((GOV.verify_key,))
PAYLOAD = {"v": 1, "text": "Grüße", "number": 1.5}


def refusal(envelope: Any, payload_type: str = DECISION) -> str:
    with pytest.raises(Refused) as caught:
        unseal(envelope, payload_type, KEYS)
    return caught.value.reason


def sealed_body(body: bytes) -> dict[str, Any]:
    """An envelope whose signature is right around bytes that `seal` would never make."""
    envelope = seal(DECISION, {}, GOV)
    signature = GOV.sign(pae(DECISION, body)).signature
    envelope["payload"] = b64(body)
    envelope["signatures"][0]["sig"] = b64(signature)
    return envelope


def b64(data: bytes) -> str:
    from base64 import b64encode  # noqa: PLC0415 - the test's own encoder, not the one under test

    return b64encode(data).decode()


@given(documents)
def test_what_is_sealed_unseals(payload: dict[str, Any]) -> None:
    envelope = seal(DECISION, payload, GOV)
    assert unseal(envelope, DECISION, KEYS) == payload
    assert unseal(json.dumps(envelope), DECISION, KEYS) == payload
    assert unseal(json.dumps(envelope).encode(), DECISION, KEYS) == payload


def test_the_pre_authentication_encoding_is_dsse() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


@pytest.mark.parametrize("flip", [0x01, 0x02, 0x20, 0x80, 0xFF])
def test_every_changed_byte_is_refused(flip: int) -> None:
    message = json.dumps(seal(DECISION, PAYLOAD, GOV)).encode()
    for at in range(len(message)):
        changed = bytearray(message)
        changed[at] ^= flip
        if json_equal(bytes(changed), message):
            continue  # white space between tokens is nobody's secret
        assert refusal(bytes(changed))


def json_equal(left: bytes, right: bytes) -> bool:
    try:
        return bool(json.loads(left.decode()) == json.loads(right.decode()))
    except ValueError:
        return False


@given(st.data())
def test_cuts_and_insertions_are_refused(data: st.DataObject) -> None:
    message = json.dumps(seal(DECISION, PAYLOAD, GOV), separators=(",", ":")).encode()
    start = data.draw(st.integers(0, len(message) - 1))
    end = data.draw(st.integers(start, len(message)))
    changed = message[:start] + data.draw(st.binary(max_size=5)) + message[end:]
    if not json_equal(changed, message):
        assert refusal(changed)


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_noise_is_refused(noise: bytes | str) -> None:
    assert refusal(noise) == "malformed" or noise == "{}"


@given(documents)
def test_any_json_object_but_an_envelope_is_refused(document: dict[str, Any]) -> None:
    assert refusal(document)
    assert refusal({"payloadType": DECISION} | document)


@pytest.mark.parametrize("bomb", ["[" * 100_000, '{"a":' * 50_000, "[" * 100_000 + "]" * 100_000])
def test_nesting_bombs_are_refused(bomb: str) -> None:
    assert refusal(bomb) == "malformed"
    assert refusal(sealed_body(bomb.encode()[:190_000])) == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":1,"a":1}',
        b'{"x":{"a":1,"a":2}}',
        b'{"a":' + b"9" * 5000 + b"}",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe{\x00}\x00",
        b'{"a":"\xff"}',
        b"[]",
        b'"text"',
        b"{} {}",
        b"",
    ],
)
def test_a_signed_payload_that_is_not_strict_json_is_refused(body: bytes) -> None:
    assert refusal(sealed_body(body)) == "malformed"


def test_a_twice_written_envelope_field_is_refused() -> None:
    message = json.dumps(seal(DECISION, PAYLOAD, GOV))
    assert refusal(message[:-1] + ',"payload":"e30="}') == "malformed"


def test_a_type_is_part_of_what_is_signed() -> None:
    envelope = seal(STREAM, PAYLOAD, GOV)
    assert refusal(envelope) == "wrong_type"
    assert refusal(envelope | {"payloadType": DECISION}) == "wrong_signature"


@pytest.mark.parametrize("signatures", [None, [], {}, "", [{}], [{"sig": ""}], [None], ["x"], 7])
def test_a_stripped_signature_is_refused(signatures: Any) -> None:
    assert refusal(seal(DECISION, PAYLOAD, GOV) | {"signatures": signatures}) == "unsigned"


def test_a_missing_signature_is_refused() -> None:
    envelope = seal(DECISION, PAYLOAD, GOV)
    del envelope["signatures"]
    assert refusal(envelope) == "unsigned"


def test_a_second_signature_is_refused_even_when_both_are_good() -> None:
    envelope = seal(DECISION, PAYLOAD, GOV)
    assert refusal(envelope | {"signatures": envelope["signatures"] * 2}) == "wrong_signature"
    assert refusal(countersign(envelope, STRANGER)) == "wrong_signature"


SECOND = SigningKey(b"2" * 32)
PAIR = Pins((GOV.verify_key, SECOND.verify_key, STRANGER.verify_key), 2)
MGT_PINS = Pins((SigningKey(b"m" * 32).verify_key,))


def refusal_by_two(envelope: dict[str, Any]) -> str:
    with pytest.raises(Refused) as caught:
        unseal(envelope, DECISION, PAIR)
    return caught.value.reason


def test_any_two_of_three_sign_where_two_must() -> None:
    for keys in ((GOV, SECOND), (SECOND, GOV), (STRANGER, GOV)):
        assert unseal(json.dumps(seal(DECISION, PAYLOAD, *keys)), DECISION, PAIR) == PAYLOAD


def test_where_two_must_sign_exactly_two_different_ones_do() -> None:
    envelope = seal(DECISION, PAYLOAD, GOV, SECOND)
    first, second = envelope["signatures"]
    outsider = SigningKey(b"x" * 32)
    for signatures in ([first], [second], [first, first], [second, first], []):
        assert refusal_by_two(envelope | {"signatures": signatures}) in {"wrong_signature", "unsigned"}
    assert refusal_by_two(seal(DECISION, PAYLOAD, GOV)) == "wrong_signature"
    assert refusal_by_two(seal(DECISION, PAYLOAD, GOV, SECOND, STRANGER)) == "wrong_signature"
    assert refusal_by_two(seal(DECISION, PAYLOAD, GOV, outsider)) == "wrong_signature"


def test_one_key_under_two_names_is_one_key() -> None:
    envelope = seal(DECISION, PAYLOAD, GOV, SECOND)
    first, second = envelope["signatures"]
    assert refusal_by_two(envelope | {"signatures": [first, first | {"keyid": second["keyid"]}]}) == "wrong_signature"


def test_two_signers_each_meet_their_own_threshold() -> None:
    (mgt,) = (SigningKey(b"m" * 32),)
    both = seal(DECISION, PAYLOAD, GOV, SECOND, mgt)
    assert unseal(both, DECISION, PAIR, MGT_PINS) == PAYLOAD
    for keys in ((GOV, SECOND), (GOV, mgt), (GOV, SECOND, STRANGER), (GOV, SECOND, STRANGER, mgt)):
        with pytest.raises(Refused):
            unseal(seal(DECISION, PAYLOAD, *keys), DECISION, PAIR, MGT_PINS)


def test_a_countersignature_makes_the_same_envelope_in_any_order() -> None:
    both = seal(DECISION, PAYLOAD, GOV, SECOND)
    assert countersign(seal(DECISION, PAYLOAD, GOV), SECOND) == both
    assert countersign(seal(DECISION, PAYLOAD, SECOND), GOV) == countersign(both, GOV) == both


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace('"payloadType"', '"trace":"x","payloadType"'),
        lambda text: text.replace('"keyid"', '"note":1,"keyid"'),
        lambda text: text[:-1] + ',"trace":null}',
        lambda text: text.replace("vnd", "\\u0076nd"),
        lambda text: text.replace('"sig"', '"\\u0073ig"'),
        lambda text: json.dumps(json.loads(text), sort_keys=True),
    ],
)
def test_a_message_has_one_spelling_and_nothing_unsigned(change: Any) -> None:
    text = spelled(seal(DECISION, PAYLOAD, GOV)).decode()
    assert unseal(text, DECISION, KEYS) == PAYLOAD
    assert change(text) != text
    assert refusal(change(text)) == "malformed"


def test_blanks_stand_as_json_libraries_put_them_or_not_at_all() -> None:
    envelope = seal(DECISION, PAYLOAD, GOV)
    text = json.dumps(envelope)
    assert unseal(text, DECISION, KEYS) == PAYLOAD
    laid_out = json.dumps(envelope, indent=2)
    for other in (laid_out, text + "\n", text.replace(": ", ":", 1), text.replace(", ", ",\t", 1)):
        assert refusal(other) == "malformed"


def test_a_strangers_signature_is_refused_whatever_key_it_names() -> None:
    envelope = seal(DECISION, PAYLOAD, STRANGER)
    assert refusal(envelope) == "wrong_signature"
    envelope["signatures"][0]["keyid"] = key_id(GOV.verify_key)
    assert refusal(envelope) == "wrong_signature"


@pytest.mark.parametrize("name", ["", None, 7, [], key_id(STRANGER.verify_key)])
def test_a_key_id_that_does_not_name_the_signer_is_refused(name: Any) -> None:
    envelope = seal(DECISION, PAYLOAD, GOV)
    envelope["signatures"][0]["keyid"] = name
    assert refusal(envelope) == "wrong_signature"


def test_every_pinned_key_is_tried_and_none_means_none() -> None:
    envelope = seal(DECISION, PAYLOAD, GOV)
    assert unseal(envelope, DECISION, Pins((STRANGER.verify_key, GOV.verify_key))) == PAYLOAD
    with pytest.raises(Refused, match="no pinned key"):
        unseal(envelope, DECISION, Pins(()))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text + "=",
        lambda text: text.rstrip("="),
        lambda text: text[:8] + "\u00e9" + text[9:],
        lambda text: text[:8] + "-" + text[9:],
        lambda _: None,
        lambda _: 7,
        lambda _: ["e30="],
    ],
)
def test_base64_has_one_spelling(change: Any) -> None:
    envelope = sealed_body(b'{"a":12}')  # 8 bytes: padded, with bits to spare
    assert refusal(envelope | {"payload": change(envelope["payload"])}) == "malformed"
    signature = envelope["signatures"][0]
    assert refusal(envelope | {"signatures": [signature | {"sig": change(signature["sig"])}]})


def test_spare_bits_of_base64_are_zero() -> None:
    envelope = sealed_body(b"{}")
    assert envelope["payload"] == "e30="
    assert refusal(envelope | {"payload": "e31="}) == "malformed"


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    envelope = seal(DECISION, PAYLOAD, GOV)
    envelope["signatures"][0]["sig"] = b64(b"x" * length)
    assert refusal(envelope) in {"unsigned", "wrong_signature"}


def test_size_is_looked_at_first() -> None:
    assert refusal(" " * (MAX_BYTES + 1)) == "too_large"
    assert refusal(b" " * (MAX_BYTES + 1)) == "too_large"
    assert refusal("é" * (MAX_BYTES - 1)) == "too_large"
    assert refusal(seal(DECISION, {}, GOV) | {"payload": "!" * (MAX_BYTES + 1)}) == "too_large"


def test_half_a_surrogate_pair_is_refused() -> None:
    assert refusal("\ud800") == "malformed"


def test_a_refusal_says_its_code_and_its_words() -> None:
    refused = Refused("replayed", "revision 3 is not above 4")
    assert str(refused) == "replayed: revision 3 is not above 4"


@given(st.integers(0, 253_370_764_799_999_900))
def test_instants_keep_their_microsecond(microseconds: int) -> None:
    text = rfc3339(microseconds / 1e6)
    assert rfc3339(instant(text)) == text


@pytest.mark.parametrize(
    ("text", "epoch"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00Z", 0),
        ("2026-11-23T14:00:00.5Z", 1_795_442_400.5),
        ("2026-11-23T15:00:00.5+01:00", 1_795_442_400.5),
        ("1970-01-01T01:00:01+01:00", 1),
    ],
)
def test_instants_read(text: str, epoch: float) -> None:
    assert instant(text) == epoch


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-23",
        "2026-11-23T14:00:00",
        "2026-11-23 14:00:00Z",
        "20261123T140000Z",
        "2026-13-01T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-11-23T25:00:00Z",
        "2026-11-23T14:00:60Z",
        "2026-11-23T14:00:00Z\n",
        "2026-11-23T14:00:00+99:00",
        "٢٠٢٦-11-23T14:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "1969-12-31T23:59:59Z",
        "9999-12-31T23:59:59.9999999Z",
    ],
)
def test_what_is_no_instant_says_so(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        instant(text)


@given(st.from_regex(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-][0-9]{2}:[0-9]{2})"))
def test_reading_an_instant_fails_in_one_way_only(text: str) -> None:
    try:
        assert isinstance(instant(text), float)
    except ValueError:
        return


def test_a_key_file_reads_back() -> None:
    assert load_signing_key(dump_signing_key(GOV)) == GOV
    assert dump_signing_key(GOV).count("\n") == 1


@pytest.mark.parametrize("text", ["", "secret", "c2VjcmV0", "\n\n"])
def test_a_bad_key_file_is_refused_without_being_shown(text: str) -> None:
    with pytest.raises(ValueError, match="not a signing key") as caught:
        load_signing_key(text)
    assert "sec" not in str(caught.value)
    assert "c2V" not in str(caught.value)
