"""Messages: every field is checked, builders and reader agree, and nothing signed can make an agent stumble."""

import json
from collections.abc import Callable
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_svc.layers import fold
from hms_svc.messages import (
    MAX_NAMES,
    MAX_PATCHES,
    Heartbeat,
    StreamMessage,
    advance,
    delta_payload,
    entry,
    heartbeat_payload,
    read_entry,
    read_message,
    snapshot_payload,
)
from hms_svc.wire import ADMIT_ALL, DECISION, MAX_BYTES, STREAM, Refused, instant, seal
from hms_svc.yaml_edit import edit
from hms_svc.yaml_tree import load
from tests.svc.makers import (
    GOV,
    MGT,
    SERVICE,
    STRANGER,
    TENANT,
    TRUST,
    decision,
    documents,
    patch,
    signed,
    values,
)

ISSUED = instant("2026-11-20T00:00:00Z")


def snapshot(*entries: Any, **over: Any) -> dict[str, Any]:
    return snapshot_payload(TENANT, SERVICE, 7, ISSUED, entries) | over


def delta(*entries: Any, ended: tuple[Any, ...] = (), **over: Any) -> dict[str, Any]:
    return delta_payload(TENANT, SERVICE, 7, ISSUED, entries, ended) | over


def read(payload: dict[str, Any], tenant: str = TENANT) -> StreamMessage | Heartbeat:
    return read_message(json.dumps(seal(STREAM, payload, MGT)), TRUST, tenant)


def read_stream(payload: dict[str, Any]) -> StreamMessage:
    message = read(payload)
    assert isinstance(message, StreamMessage)
    return message


def refusal(payload: dict[str, Any]) -> Refused:
    with pytest.raises(Refused) as caught:
        read(payload)
    return caught.value


def refused_decision(**over: Any) -> Refused:
    return refusal(snapshot(entry(1, 0, signed(**over))))


def test_a_snapshot_reads_as_it_was_built() -> None:
    envelope = signed()
    message = read_stream(snapshot(entry(3, ADMIT_ALL, envelope)))
    assert message._replace(patches=()) == StreamMessage("snapshot", TENANT, SERVICE, 7, 6, ISSUED, (), ())
    (held,) = message.patches
    assert held == patch(
        784,
        selector=">=2.1.0",
        changes={"rate_limit_rps": 200, "replicas": 6},
        start=instant("2026-11-20T00:00:00Z"),
        end=instant("2026-12-05T00:00:00Z"),
        expires=instant("2026-12-05T00:00:00Z"),
        order=3,
        envelope=envelope,
    )


def test_a_delta_reads_as_it_was_built() -> None:
    message = read_stream(delta(entry(3, 5, signed()), ended=(12, 13)))
    assert (message.kind, message.revision, message.previous) == ("delta", 7, 6)
    assert message.ended == (12, 13)
    assert message.patches[0].admit_below == 5


def test_a_heartbeat_reads_as_it_was_built() -> None:
    assert read(heartbeat_payload(TENANT, ISSUED, {SERVICE: 7, "B": 0})) == Heartbeat(
        TENANT, ISSUED, {SERVICE: 7, "B": 0}
    )


def test_an_endless_window_reads() -> None:
    window = {"start": "2026-11-20T00:00:00Z", "end": None}
    held = read_stream(snapshot(entry(1, 0, signed(window=window, expires=None)))).patches[0]
    assert (held.end, held.expires) == (None, None)


def test_dotted_knobs_arrive_nested() -> None:
    held = read_stream(snapshot(entry(1, 0, signed(changes={"a.b": 1, "a": {"c.d": 2}})))).patches[0]
    assert held.changes == {"a": {"b": 1, "c.d": 2}}


def test_unknown_fields_are_a_newer_control_planes() -> None:
    window = decision()["window"] | {"zone": "UTC"}
    newer = entry(1, 2, signed(window=window, approvals=[{"by": "olga"}])) | {"wave": {"number": 1}}
    assert read_stream(snapshot(newer, trace="x")).patches[0].id == 784
    assert isinstance(read(heartbeat_payload(TENANT, ISSUED, {}) | {"leader": "mgt-1"}), Heartbeat)


def test_what_is_kept_of_a_decision_is_what_was_signed() -> None:
    deep: Any = "\u00fc"
    for _ in range(400):
        deep = [deep]
    (held,) = read_stream(snapshot(entry(1, 0, signed() | {"trace": deep}))).patches
    assert held.envelope == signed()


def test_a_journalled_entry_reads_by_itself() -> None:
    assert read_entry(entry(3, 5, signed()), TRUST, TENANT, SERVICE).id == 784
    with pytest.raises(Refused, match="wrong_signature"):
        read_entry(entry(3, 5, seal(DECISION, decision(), MGT)), TRUST, TENANT, SERVICE)


def test_gov_and_mgt_cannot_stand_in_for_each_other() -> None:
    with pytest.raises(Refused, match="wrong_signature"):
        read_message(json.dumps(seal(STREAM, snapshot(), GOV)), TRUST, TENANT)
    assert refusal(snapshot(entry(1, 0, seal(DECISION, decision(), STRANGER)))).reason == "wrong_signature"
    assert refusal(snapshot(entry(1, 0, seal(STREAM, decision(), GOV)))).reason == "wrong_type"


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (snapshot(tenant="VA"), "wrong_tenant"),
        (heartbeat_payload("VA", ISSUED, {}), "wrong_tenant"),
        (snapshot(v=2), "unsupported"),
        (snapshot(kind="forecast"), "unsupported"),
        (heartbeat_payload(TENANT, ISSUED, {}) | {"v": 2}, "unsupported"),
        (snapshot(entry(1, 0, signed(tenant="VA"))), "wrong_tenant"),
        (snapshot(entry(1, 0, signed(service="OTHER"))), "wrong_service"),
        (snapshot(entry(1, 0, signed(verdict="deny"))), "denied"),
        (snapshot(entry(1, 0, signed(verdict="ALLOW"))), "denied"),
        (snapshot(entry(1, 0, signed(v=2))), "unsupported"),
    ],
)
def test_a_message_for_others_or_from_the_future_is_refused(payload: dict[str, Any], reason: str) -> None:
    assert refusal(payload).reason == reason


def test_one_bad_decision_refuses_the_whole_message() -> None:
    good, bad = entry(1, 0, signed()), entry(2, 0, signed(patch_id=785, verdict="deny"))
    assert refusal(snapshot(good, bad)).reason == "denied"


WRONG: dict[str, list[Any]] = {
    "text": [None, True, 1, 1.5, [], {}],
    "number": [None, True, False, -1, 1.0, 2**63, 10**30, "1", [], {}],
    "object": [None, True, 1, "x", []],
    "list": [None, True, 1, "x", {}],
    "instant": [None, True, 1, "", "yesterday", "2026-11-20", "2026-11-20T00:00:00"],
}
STREAM_FIELDS = {
    "v": "number",
    "kind": "text",
    "tenant": "text",
    "service": "text",
    "revision": "number",
    "previous": "number",
    "issued": "instant",
    "patches": "list",
    "ended": "list",
}
DECISION_FIELDS = {
    "v": "number",
    "decision_id": "text",
    "verdict": "text",
    "patch_id": "number",
    "tenant": "text",
    "service": "text",
    "version_selector": "text",
    "changes": "object",
    "window": "object",
    "priority": "number",
    "reasons": "list",
    "obligations": "list",
    "policy_revision": "text",
    "issued": "instant",
}


def wrongs(fields: dict[str, str]) -> list[tuple[str, Any]]:
    return [(name, wrong) for name, kind in fields.items() for wrong in WRONG[kind]]


@pytest.mark.parametrize(("name", "wrong"), wrongs(STREAM_FIELDS))
def test_every_stream_field_has_its_type(name: str, wrong: Any) -> None:
    assert name in refusal(delta(entry(1, 0, signed())) | {name: wrong}).detail


@pytest.mark.parametrize(("name", "wrong"), wrongs(DECISION_FIELDS))
def test_every_decision_field_has_its_type(name: str, wrong: Any) -> None:
    assert f"decision.{name}" in refused_decision(**{name: wrong}).detail


@pytest.mark.parametrize("name", STREAM_FIELDS)
def test_no_stream_field_may_be_missing(name: str) -> None:
    payload = delta(entry(1, 0, signed()))
    del payload[name]
    assert refusal(payload)


@pytest.mark.parametrize("name", [*DECISION_FIELDS, "expires"])
def test_no_decision_field_may_be_missing(name: str) -> None:
    payload = decision()
    del payload[name]
    assert refusal(snapshot(entry(1, 0, seal(DECISION, payload, GOV))))


@pytest.mark.parametrize(
    ("name", "wrong"), [*product(["order", "admit_below"], WRONG["number"]), ("admit_below", ADMIT_ALL + 1)]
)
def test_every_entry_field_has_its_type(name: str, wrong: Any) -> None:
    assert name in refusal(snapshot(entry(1, 0, signed()) | {name: wrong})).detail


@pytest.mark.parametrize("wrong", [None, 1, "x", [], {}, {"decision": None}, {"decision": "e30="}])
def test_an_entry_is_an_object_with_a_decision(wrong: Any) -> None:
    assert refusal(snapshot(wrong)).reason in {"malformed", "wrong_type"}


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"start": "2026-11-20T00:00:00Z"},
        {"end": None},
        {"start": None, "end": None},
        {"start": "2026-11-20T00:00:00Z", "end": "2026-11-20T00:00:00Z"},
        {"start": "2026-11-20T00:00:00Z", "end": "2026-11-19T00:00:00Z"},
        {"start": "2026-11-20T00:00:00Z", "end": 7},
    ],
)
def test_a_window_starts_and_may_end_later(window: dict[str, Any]) -> None:
    assert "decision.window" in refused_decision(window=window).detail


@pytest.mark.parametrize("wrong", [True, 7, "", "soon"])
def test_expires_is_an_instant_or_null(wrong: Any) -> None:
    assert "decision.expires" in refused_decision(expires=wrong).detail


@pytest.mark.parametrize("heads", [None, [], {SERVICE: True}, {SERVICE: -1}, {SERVICE: 2**63}, {"a:b": 1}])
def test_heads_are_revisions_by_service(heads: Any) -> None:
    assert "heads" in refusal(heartbeat_payload(TENANT, ISSUED, {}) | {"heads": heads}).detail


@pytest.mark.parametrize("service", ["", "a:b", "*", "-a", "a" * 64, "a\n", "é"])
def test_a_service_has_a_plain_name(service: str) -> None:
    assert "service" in refusal(snapshot(service=service)).detail


def test_a_revision_is_above_the_one_before() -> None:
    assert read_stream(delta(previous=3)).previous == 3
    assert "previous" in refusal(delta(previous=7)).detail
    assert "revision" in refusal(delta(revision=0)).detail


def test_a_patch_stands_in_a_message_once() -> None:
    one = entry(1, 0, signed())
    assert "twice" in refusal(snapshot(one, one)).detail
    assert "twice" in refusal(delta(one, ended=(784,))).detail
    assert "twice" in refusal(delta(ended=(3, 3))).detail


@pytest.mark.parametrize("ended", [(0,), (-1,), (True,), (2**63,), ("1",), (None,)])
def test_ended_are_patch_ids(ended: tuple[Any, ...]) -> None:
    assert "ended" in refusal(delta(ended=ended)).detail


def test_counts_are_limited() -> None:
    assert "at most" in refusal(snapshot(patches=[0] * (MAX_PATCHES + 1))).detail
    assert "at most" in refusal(delta(ended=tuple(range(1, MAX_NAMES + 2)))).detail
    heads = {f"s{number}": 1 for number in range(MAX_NAMES + 1)}
    assert "at most" in refusal(heartbeat_payload(TENANT, ISSUED, heads)).detail


def test_a_message_too_large_is_refused_before_it_is_looked_at() -> None:
    assert refusal(snapshot(trace="x" * MAX_BYTES)).reason == "too_large"


def nested(depth: int, leaf: Any = 1) -> Any:
    return leaf if depth == 0 else {"k": nested(depth - 1, leaf)}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"a": 1, "a.b": 2}, "two knobs"),
        ({"a..b": 1}, "key path"),
        ({"": 1}, "key path"),
        (nested(33), "deeper than 32"),
        ({"k": [nested(31)]}, "deeper than 32"),
        ({"k" + ".k" * 40: 1}, "key path"),
        ({"k" + ".k" * 20: nested(20)}, "deeper than 32"),
        ({"k": "\ud800"}, "surrogates"),
        ({"k": {"\udfff": 1}}, "surrogates"),
        ({"k": ["\ud800"]}, "surrogates"),
        ({"k" * 129: 1}, "at most 128 characters"),
        ({"k": 2**64}, "64 bits"),
        ({"k": -(2**63) - 1}, "64 bits"),
    ],
)
def test_changes_a_configuration_cannot_hold_are_refused(changes: dict[str, Any], words: str) -> None:
    body = json.dumps(decision(changes=changes)).encode()  # escapes what canonical JSON would not write
    refused = refusal(snapshot(entry(1, 0, signed_bytes(body))))
    assert refused.reason == "malformed"
    assert words in refused.detail


def signed_bytes(body: bytes) -> dict[str, Any]:
    from base64 import b64encode  # noqa: PLC0415 - only here

    from hms_svc.wire import pae  # noqa: PLC0415 - only here

    envelope = signed()
    envelope["payload"] = b64encode(body).decode()
    envelope["signatures"][0]["sig"] = b64encode(GOV.sign(pae(DECISION, body)).signature).decode()
    return envelope


def test_the_deepest_changes_allowed_can_be_written() -> None:
    (held,) = read_stream(snapshot(entry(1, 0, signed(changes=nested(32))))).patches
    assert load(edit("", fold({}, [held]))) == nested(32)


@given(documents)
def test_whatever_changes_are_read_can_be_folded_and_written(changes: dict[str, Any]) -> None:
    try:
        (held,) = read_stream(snapshot(entry(1, 0, signed(changes=changes)))).patches
    except Refused:
        return
    wanted = fold({"base": 1}, [held])
    assert load(edit("base: 1 # kept\n", wanted)) == wanted


def survives(read_it: Callable[[], object]) -> None:
    with suppress(Refused):
        read_it()


@given(st.sampled_from([*STREAM_FIELDS, "heads", "new"]), values, st.booleans())
def test_any_value_in_any_stream_field_is_read_or_refused(name: str, value: Any, heartbeat: bool) -> None:  # noqa: FBT001
    payload = heartbeat_payload(TENANT, ISSUED, {}) if heartbeat else delta(entry(1, 0, signed()))
    survives(lambda: read(payload | {name: value}))


@given(st.sampled_from([*DECISION_FIELDS, "expires", "new"]), values)
def test_any_value_in_any_decision_field_is_read_or_refused(name: str, value: Any) -> None:
    survives(lambda: read(snapshot(entry(1, 0, signed(**{name: value})))))


@given(st.binary(max_size=100) | st.text(max_size=100) | documents.map(json.dumps))
def test_noise_on_the_channel_is_refused(noise: bytes | str) -> None:
    with pytest.raises(Refused):
        read_message(noise, TRUST, TENANT)


def test_a_snapshot_is_the_whole_state() -> None:
    held = {1: patch(1), 784: patch(784, order=1)}
    after = advance(held, read_stream(snapshot(entry(9, 0, signed()))))
    assert list(after) == [784]
    assert after[784].order == 9
    assert list(held) == [1, 784]


def test_a_delta_puts_and_ends() -> None:
    held = {1: patch(1), 2: patch(2), 784: patch(784, order=1)}
    after = advance(held, read_stream(delta(entry(9, 0, signed()), ended=(2, 5))))
    assert {number: held.order for number, held in after.items()} == {1: 1, 784: 9}
    assert list(held) == [1, 2, 784]
