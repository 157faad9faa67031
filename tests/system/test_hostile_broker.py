"""Whoever owns Redis can push nothing (promises 4 and 5): each bad message is refused, logged, counted, and changes
no byte of any file.

The tests hold the keys of MGT and GOV, so that they can also sign what a half-compromised control plane might.
"""

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
import redis
from nacl.signing import SigningKey

from hms_svc import messages, wire

from .system import SERVICE, TENANT, File, System, until, workers_of

CHANNEL = f"cfg::{TENANT}"
STATE = f"cfg-state::{TENANT}::{SERVICE}"
_LIMIT = 70


class Heard(NamedTuple):
    """What a listener on the tenant's channel could record while honest patches came and went."""

    deltas: list[bytes]
    heartbeat: bytes
    old_snapshot: bytes
    # The head's revision, and the patch that is in force.
    revision: int
    patch_id: int


@pytest.fixture(scope="module")
def heard(system: System) -> Heard:
    """Two patches came, one of them went again; the other one stays in force."""
    with (
        system.broker() as broker,
        broker.pubsub(ignore_subscribe_messages=True) as listener,  # type: ignore[no-untyped-call]
    ):
        listener.subscribe(CHANNEL)
        gone = system.apply({"rate_limit_rps": 900})
        old_snapshot = broker.get(STATE)
        system.roll_back(gone)
        patch_id = system.apply({"rate_limit_rps": _LIMIT})
        seen: list[bytes] = []

        def record() -> list[bytes]:
            while (message := listener.get_message(timeout=0.05)) is not None:
                seen.append(message["data"])
            return seen

        until("three deltas and a heartbeat", record, lambda found: Counter(map(kind, found)) >= _ENOUGH, 20)
    deltas = [raw for raw in seen if kind(raw) == "delta"]
    heartbeat = next(raw for raw in seen if kind(raw) == "heartbeat")
    assert isinstance(old_snapshot, bytes)
    return Heard(deltas, heartbeat, old_snapshot, 3, patch_id)


_ENOUGH = Counter(delta=3, heartbeat=1)


def body(raw: bytes) -> dict[str, Any]:
    payload: dict[str, Any] = json.loads(base64.b64decode(json.loads(raw)["payload"]))
    return payload


def kind(raw: bytes) -> str:
    return str(body(raw)["kind"])


class Forger:
    """Makes messages that must not be believed. Each would set the limit to 999 if it were."""

    def __init__(self, system: System, heard: Heard) -> None:
        keys = Path(system.ready["trust_file"]).parent
        self.mgt, self.gov = (wire.load_signing_key((keys / f"{name}.key").read_text()) for name in ("mgt", "gov"))
        self.own = SigningKey.generate()
        self.heard = heard

    def decision(self, key: SigningKey | None = None, **other: Any) -> dict[str, Any]:
        """Sign GOV's decision on a patch that nobody asked for."""
        now = wire.rfc3339(time.time() - 1)
        statement = {
            "v": 1,
            "decision_id": "d-1",
            "verdict": "allow",
            "patch_id": 4711,
            "tenant": TENANT,
            "service": SERVICE,
            "version_selector": "*",
            "changes": {"rate_limit_rps": 999},
            "window": {"start": now, "end": None},
            "priority": 900,
            "reasons": [],
            "obligations": [],
            "policy_revision": "sha256:0",
            "issued": now,
            "expires": None,
        }
        return wire.seal(wire.DECISION, {**statement, **other}, key or self.gov)

    def delta(self, decision: dict[str, Any] | None = None, tenant: str = TENANT, **other: Any) -> dict[str, Any]:
        """Word the next delta of the stream."""
        held = [messages.entry(4711, wire.ADMIT_ALL, decision or self.decision(tenant=tenant))]
        return messages.delta_payload(tenant, SERVICE, self.heard.revision + 1, time.time(), held, []) | other

    def snapshot(self, tenant: str = TENANT, service: str = SERVICE) -> dict[str, Any]:
        """Word the next snapshot of the stream."""
        held = [messages.entry(4711, wire.ADMIT_ALL, self.decision(tenant=tenant, service=service))]
        return messages.snapshot_payload(tenant, service, self.heard.revision + 1, time.time(), held)

    def sealed(self, payload: dict[str, Any], key: SigningKey | None = None) -> bytes:
        """Sign a stream message, as MGT unless another key is given."""
        return json.dumps(wire.seal(wire.STREAM, payload, key or self.mgt)).encode()

    def unsigned(self, payload: dict[str, Any]) -> bytes:
        return json.dumps({**json.loads(self.sealed(payload)), "signatures": []}).encode()

    def stripped(self, payload: dict[str, Any]) -> bytes:
        envelope = json.loads(self.sealed(payload))
        del envelope["signatures"]
        return json.dumps(envelope).encode()

    def tampered(self) -> bytes:
        """Change the limit in an honest message and leave its signature."""
        envelope = json.loads(self.heard.deltas[-1])
        payload = base64.b64decode(envelope["payload"])
        changed = payload.replace(b'"revision":3', b'"revision":4').replace(b'"previous":2', b'"previous":3')
        assert changed != payload
        return json.dumps({**envelope, "payload": base64.b64encode(changed).decode()}).encode()

    def signed_twice(self) -> bytes:
        payload = self.delta()
        first, second = (json.loads(self.sealed(payload, key)) for key in (self.mgt, self.own))
        return json.dumps({**first, "signatures": first["signatures"] + second["signatures"]}).encode()

    def old_heartbeat(self) -> bytes:
        return self.sealed(messages.heartbeat_payload(TENANT, time.time() - 41, {SERVICE: 99}))


# Every hostile message for the channel, with the reason for which it must be refused.
ON_THE_CHANNEL: dict[str, tuple[str, Callable[[Forger], bytes]]] = {
    "garbage": ("malformed", lambda _: b"\x00\xff\xfe not a message \x80"),
    "nothing at all": ("malformed", lambda _: b""),
    "JSON of another shape": ("malformed", lambda _: b'[{"rate_limit_rps": 999}]'),
    "a nesting bomb": ("malformed", lambda _: b'{"payload":' + b"[" * 100_000),
    "more than a message may be": ("too_large", lambda _: b"x" * (wire.MAX_BYTES + 1)),
    "a bare decision of GOV": ("wrong_type", lambda f: json.dumps(f.decision()).encode()),
    "no signature": ("unsigned", lambda f: f.unsigned(f.delta())),
    "signatures stripped": ("unsigned", lambda f: f.stripped(f.delta())),
    "a key nobody pinned": ("wrong_signature", lambda f: f.sealed(f.delta(), f.own)),
    "GOV's key on a stream": ("wrong_signature", lambda f: f.sealed(f.delta(), f.gov)),
    "a body changed after signing": ("wrong_signature", lambda f: f.tampered()),
    "one signature too many": ("wrong_signature", lambda f: f.signed_twice()),
    "MGT's key on a decision": ("wrong_signature", lambda f: f.sealed(f.delta(f.decision(f.mgt)))),
    "GOV said no": ("denied", lambda f: f.sealed(f.delta(f.decision(verdict="deny")))),
    "another tenant's message": ("wrong_tenant", lambda f: f.sealed(f.delta(tenant="CDC"))),
    "another tenant's decision": ("wrong_tenant", lambda f: f.sealed(f.delta(f.decision(tenant="CDC")))),
    "another service's decision": ("wrong_service", lambda f: f.sealed(f.delta(f.decision(service="BILLING")))),
    "a version of tomorrow": ("unsupported", lambda f: f.sealed(f.delta(v=2))),
    "the first delta once more": ("replayed", lambda f: f.heard.deltas[0]),
    "the last delta once more": ("replayed", lambda f: f.heard.deltas[-1]),
    "an old snapshot": ("replayed", lambda f: f.heard.old_snapshot),
    "a heartbeat once more": ("replayed", lambda f: f.heard.heartbeat),
    "a heartbeat kept too long": ("expired", lambda f: f.old_heartbeat()),
}

# The same for the place where the snapshot is kept.
IN_THE_STATE: dict[str, tuple[str, Callable[[Forger], bytes]]] = {
    "garbage": ("malformed", lambda _: b"---\nrate_limit_rps: 999\n"),
    "no signature": ("unsigned", lambda f: f.unsigned(f.snapshot())),
    "a key nobody pinned": ("wrong_signature", lambda f: f.sealed(f.snapshot(), f.own)),
    "another tenant's snapshot": ("wrong_tenant", lambda f: f.sealed(f.snapshot(tenant="CDC"))),
    "another service's snapshot": ("wrong_service", lambda f: f.sealed(f.snapshot(service="BILLING"))),
    "an old snapshot": ("replayed", lambda f: f.heard.old_snapshot),
}


@pytest.fixture
def forger(system: System, heard: Heard) -> Forger:
    return Forger(system, heard)


@pytest.fixture
def untouched(system: System, heard: Heard) -> Iterator[dict[Path, File]]:
    """What must be the same after the test: every file beside conf.yml, and the served processes' workers."""
    assert system.patch(heard.patch_id)["status"] == "APPLIED"
    before, workers = system.conf_files(), workers_of(system.instances())
    yield before
    assert system.conf_files() == before
    assert workers_of(system.instances()) == workers, "nothing was reloaded"
    assert system.shows(_LIMIT)
    assert [one["active"] for one in system.fleet()] == [[heard.patch_id]] * 3
    assert [one["revision"] for one in system.fleet()] == [heard.revision] * 3


def counted(system: System) -> list[Counter[str]]:
    """Return what each instance refused, by reason, as MGT shows it."""
    return [Counter(one["refused"]) for one in system.fleet()]


def logged(system: System) -> list[int]:
    """Return how many refusals each sidecar logged."""
    return [len(one.refusals()) for one in system.instances()]


def await_refusal(system: System, before: list[int], what: str, reason: str) -> None:
    """Wait until every sidecar logged one refusal more, for this reason and with words about it."""
    until(f"the refusal of: {what}", lambda: logged(system), lambda now: now == [count + 1 for count in before], 15)
    last = [one.refusals()[-1] for one in system.instances()]
    assert [line["reason"] for line in last] == [reason] * 3, what
    assert all(line["detail"] for line in last), what


def test_promise_4_no_hostile_message_on_the_channel_changes_a_byte(
    system: System, forger: Forger, untouched: dict[Path, File]
) -> None:
    before = counted(system)
    with system.broker() as broker:
        for what, (reason, make) in ON_THE_CHANNEL.items():
            seen = logged(system)
            assert broker.publish(CHANNEL, make(forger)) == 3, "every sidecar hears it"
            await_refusal(system, seen, what, reason)
            assert system.conf_files() == untouched, what
    wanted = Counter(reason for reason, _ in ON_THE_CHANNEL.values())
    until("each refusal is counted", lambda: counted(system), lambda now: now == [one + wanted for one in before])


def test_promise_4_no_hostile_snapshot_changes_a_byte(
    system: System, forger: Forger, untouched: dict[Path, File]
) -> None:
    before = counted(system)
    worker = psutil.Process(system.part("worker").pid)
    worker.suspend()  # it would put the honest snapshot back
    try:
        with system.broker() as broker:
            for what, (reason, make) in IN_THE_STATE.items():
                seen = logged(system)
                broker.set(STATE, make(forger))
                look_again(broker)
                await_refusal(system, seen, what, reason)
                assert system.conf_files() == untouched, what
    finally:
        worker.resume()
    wanted = Counter(reason for reason, _ in IN_THE_STATE.values())
    until("each refusal is counted", lambda: counted(system), lambda now: now == [one + wanted for one in before])
    with system.broker() as broker:
        until("MGT puts the honest snapshot back", lambda: broker.get(STATE), lambda raw: raw and is_head(raw, forger))


def look_again(broker: redis.Redis) -> None:
    """Have every sidecar read the snapshot anew: it does so whenever it subscribes."""
    broker.client_kill_filter(_type="pubsub")


def is_head(raw: Any, forger: Forger) -> bool:
    """Tell whether this is MGT's snapshot of the head."""
    try:
        payload = wire.unseal(raw, wire.STREAM, wire.Pins((forger.mgt.verify_key,)))
    except wire.Refused:
        return False
    return bool(payload["revision"] == forger.heard.revision)


def test_promise_5_after_all_that_an_honest_patch_still_goes_through(system: System, heard: Heard) -> None:
    patch_id = system.apply({"rate_limit_rps": 71}, priority=1)
    assert system.shows(71)
    for ended, limit in ((patch_id, _LIMIT), (heard.patch_id, 50)):
        system.roll_back(ended)
        assert system.shows(limit)
