"""A seeded mutator of signed messages, and the genuine ones it starts from.

Everything an attacker without keys may do to a message, or put in its place: bits, base64, JSON, signatures, other
people's genuine messages, and what an insider with one of the keys may try.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any, NamedTuple

from nacl.signing import SigningKey

from hms_svc.desired import Desired
from hms_svc.messages import delta_payload, entry, heartbeat_payload, read_message, snapshot_payload
from hms_svc.trust import TRUST, Trust, dump, payload, succeed
from hms_svc.wire import ADMIT_ALL, DECISION, STREAM, Pins, instant, rfc3339, seal, spelled
from tests.svc.makers import GOV, MGT, SERVICE, STRANGER, TENANT, decision

GOV2, MGT2, NEXT = (SigningKey(letter * 32) for letter in (b"G", b"M", b"n"))
NOW = instant("2026-11-21T00:00:00Z")
HELD = 7


class Ring(NamedTuple):
    """The keys of both signers, and the trust that wants all of them."""

    gov: tuple[SigningKey, ...]
    mgt: tuple[SigningKey, ...]
    trust: Trust


def ring(gov: tuple[SigningKey, ...], mgt: tuple[SigningKey, ...]) -> Ring:
    return Ring(gov, mgt, Trust(_pins(gov), _pins(mgt), len(gov)))


def _pins(keys: tuple[SigningKey, ...]) -> Pins:
    return Pins(tuple(bytes(key.verify_key) for key in keys), len(keys))


ONE, TWO = ring((GOV,), (MGT,)), ring((GOV, GOV2), (MGT, MGT2))


class Genuine(NamedTuple):
    """A message that is accepted as it is, and how it is read: into everything that depends on it."""

    name: str
    ring: Ring
    raw: bytes
    read: Callable[[bytes], Any]


def decided(keys: Ring, number: int = 784, **over: Any) -> dict[str, Any]:
    return seal(DECISION, decision(patch_id=number, **over), *keys.gov)


def entries(keys: Ring) -> list[dict[str, Any]]:
    return [entry(1, ADMIT_ALL, decided(keys)), entry(2, 5, decided(keys, 785, changes={"greeting": "hi"}))]


def stream(keys: Ring, fields: dict[str, Any], *signers: SigningKey) -> bytes:
    return spelled(seal(STREAM, fields, *(signers or keys.mgt)))


def snapshot(keys: Ring, revision: int = HELD + 1, **over: Any) -> dict[str, Any]:
    return snapshot_payload(TENANT, SERVICE, revision, NOW - 1, entries(keys)) | over


def delta(keys: Ring, revision: int = HELD + 1, **over: Any) -> dict[str, Any]:
    return delta_payload(TENANT, SERVICE, revision, NOW - 1, entries(keys), [12]) | over


def heartbeat(revision: int = HELD + 1, issued: float = NOW - 1, **over: Any) -> dict[str, Any]:
    return heartbeat_payload(TENANT, issued, {SERVICE: revision}) | over


def moved_on(keys: Ring) -> Trust:
    return Trust(Pins((*keys.trust.gov.keys, bytes(NEXT.verify_key)), 1), keys.trust.mgt, keys.trust.serial + 1)


def step(keys: Ring, trust: Trust, *signers: SigningKey) -> dict[str, Any]:
    return seal(TRUST, payload(trust, rfc3339(NOW)), *(signers or (*keys.gov, *keys.mgt)))


def trust_file(*steps: dict[str, Any]) -> bytes:
    return dump({"version": 2, "steps": list(steps)}).encode()


def hear(raw: bytes, keys: Ring) -> Any:
    """What an agent that holds revision 7, and heard a heartbeat, holds after this message."""
    desired = Desired(SERVICE, "2.1.0", "artist-1", NOW)
    before = _state(desired, keys)
    desired.hear(read_message(raw, keys.trust, TENANT), NOW)
    after = vars(desired)
    return None if _plain(after) == before else (desired.revision, desired.head, desired.patches, after["_heartbeat"])


_HELD: dict[int, Any] = {}


def _state(desired: Desired, keys: Ring) -> Any:
    """Bring the agent to what it holds, and return that."""
    if len(keys.gov) not in _HELD:
        held = read_message(stream(keys, snapshot(keys, HELD)), keys.trust, TENANT)
        beat = read_message(stream(keys, heartbeat(HELD, NOW - 2)), keys.trust, TENANT)
        _HELD[len(keys.gov)] = held, beat
    for message in _HELD[len(keys.gov)]:
        desired.hear(message, NOW)
    return _plain(vars(desired))


def _plain(state: dict[str, Any]) -> Any:
    return [state[name] for name in ("revision", "head", "patches", "complete", "_heartbeat")]


def take_over(raw: bytes, keys: Ring) -> Any:
    """The trust after this file; None when it stays as it was."""
    after = succeed(keys.trust, raw.decode("utf-8", "surrogateescape"))
    return None if after == keys.trust else after


def corpus() -> list[Genuine]:
    found = []
    for keys in (ONE, TWO):
        for name, fields in (("snapshot", snapshot(keys)), ("delta", delta(keys)), ("heartbeat", heartbeat())):
            found.append(Genuine(f"{name}/{len(keys.gov)}", keys, stream(keys, fields), partial(hear, keys=keys)))
        file = trust_file(step(keys, moved_on(keys)))
        found.append(Genuine(f"trust/{len(keys.gov)}", keys, file, partial(take_over, keys=keys)))
    return found


# --- bytes --------------------------------------------------------------------------------------------------

ODD = (
    "\ufeff",
    "\u0430",
    "\u200b",
    "\u212a",
    "\x00",
    "\ud800",
    "\uff10",
    "\u2028",
    "é",
    "NaN",
    "1e999",
    "\\u0041",
    "{",
    "]",
)


def flip(rng: Random, one: Genuine) -> bytes:
    raw = bytearray(one.raw)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def insert(rng: Random, one: Genuine) -> bytes:
    at = rng.randrange(len(one.raw) + 1)
    return one.raw[:at] + rng.randbytes(rng.choice((1, 1, 4))) + one.raw[at:]


def delete(rng: Random, one: Genuine) -> bytes:
    at = rng.randrange(len(one.raw))
    return one.raw[:at] + one.raw[at + rng.choice((1, 1, 4, 100)) :]


def repeat(rng: Random, one: Genuine) -> bytes:
    start, end = sorted(rng.randrange(len(one.raw) + 1) for _ in range(2))
    return one.raw[:end] + one.raw[start:]


def odd(rng: Random, one: Genuine) -> bytes:
    """Byte order marks, look-alikes, half a surrogate pair: put in, or in the place of a character."""
    at = rng.choice((0, len(one.raw), rng.randrange(len(one.raw))))
    return one.raw[:at] + rng.choice(ODD).encode("utf-8", "surrogatepass") + one.raw[at + rng.randrange(2) :]


def space(rng: Random, one: Genuine) -> bytes:
    at = rng.randrange(len(one.raw) + 1)
    return one.raw[:at] + rng.choice((b" ", b"\t", b"\n", b"\r", b"\x0b", b"\xc2\xa0")) + one.raw[at:]


def escape(rng: Random, one: Genuine) -> bytes:
    """Another spelling of the same character in JSON."""
    at = rng.randrange(len(one.raw))
    return one.raw[:at] + b"\\u%04x" % one.raw[at] + one.raw[at + 1 :]


# --- the envelope's JSON ------------------------------------------------------------------------------------

Document = dict[str, Any]
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**63,
    10**400,
    1.5,
    "",
    "x",
    [],
    {},
    [[]],
    {"a": 1},
    "\ud800",
    float("nan"),
)


def dumped(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def opened(one: Genuine) -> tuple[Document, Document]:
    """The message, and the envelope in it: itself, or the last step of a trust file."""
    document = json.loads(one.raw)
    return document, document["steps"][-1] if "steps" in document else document


def field(rng: Random, one: Genuine) -> bytes:
    """A field dropped, or of another type, in the envelope or in a signature of it."""
    document, envelope = opened(one)
    place = rng.choice([document, envelope, *envelope["signatures"]])
    name = rng.choice(list(place))
    if rng.random() < 0.3:
        del place[name]
    else:
        place[name] = rng.choice(VALUES)
    return dumped(document)


def unsigned(rng: Random, one: Genuine) -> bytes:
    """A field that nobody signed, anywhere."""
    document, envelope = opened(one)
    place = rng.choice([document, envelope, *envelope["signatures"]])
    place[rng.choice(("trace", "revision", "tenant", "Payload", "keyId", "alg", ""))] = rng.choice(VALUES)
    return dumped(document)


def twice(rng: Random, one: Genuine) -> bytes:
    """A key that stands twice."""
    document, envelope = opened(one)
    name = rng.choice(list(envelope))
    text, double = dumped(document), f'"{name}":{json.dumps(rng.choice((envelope[name], "e30=")))},'.encode()
    return text.replace(b'"payloadType"', double + b'"payloadType"', 1)


def order(rng: Random, one: Genuine) -> bytes:
    """The same fields in another order."""
    document, envelope = opened(one)
    items = list(envelope.items())
    rng.shuffle(items)
    envelope.clear()
    envelope.update(items)
    return dumped(document)


def kind(rng: Random, one: Genuine) -> bytes:
    document, envelope = opened(one)
    envelope["payloadType"] = rng.choice(
        (DECISION, STREAM, TRUST, STREAM.upper(), f"{STREAM} ", "application/json", "")
    )
    return dumped(document)


def signatures(rng: Random, one: Genuine) -> bytes:
    """Stripped, doubled, reordered, renamed, by strangers, or from another message."""
    document, envelope = opened(one)
    made = envelope["signatures"]
    other = opened(rng.choice(CORPUS))[1]["signatures"]
    stranger = seal(envelope["payloadType"], json.loads(b64decode(envelope["payload"])), STRANGER)["signatures"]
    first = made[0]
    envelope["signatures"] = rng.choice(
        (
            [],
            made[:-1],
            made[::-1],
            made + made,
            [first] * len(made) + made[1:],
            [first] * (len(made) + 1),
            other,
            [*made[:-1], other[0]],
            stranger,
            [*made, *stranger],
            [*made[:-1], *stranger],
            [*made[:-1], stranger[0] | {"keyid": first["keyid"]}],
            [
                {**one, "keyid": rng.choice((first["keyid"].upper(), "", "0" * 16, first["keyid"][:8], None))}
                for one in made
            ],
            [
                {**one, "sig": rng.choice((first["sig"], first["sig"][::-1], "", "AAAA", "A" * 86 + "=="))}
                for one in made
            ],
        )
    )
    return dumped(document)


def base64(rng: Random, one: Genuine) -> bytes:
    """Other spellings of the same bytes, and other bytes."""
    document, envelope = opened(one)
    place, name = rng.choice([(envelope, "payload"), *((made, "sig") for made in envelope["signatures"])])
    text = place[name]
    at = rng.randrange(len(text))
    place[name] = rng.choice(
        (
            text.rstrip("="),
            f"{text}=",
            f"{text}====",
            text.replace("+", "-").replace("/", "_"),
            f"{text[:at]}\n{text[at:]}",
            f"{text[:at]}={text[at:]}",
            text[:at] + rng.choice("ABab01+/") + text[at + 1 :],
            text.rstrip("=")[:-1] + rng.choice("BCDFHJ") + "=" * text.count("="),
            text[:at] + text[at + 4 :],
        )
    )
    return dumped(document)


# --- what was signed ----------------------------------------------------------------------------------------


def _deep(rng: Random) -> Any:
    value: Any = 1
    for _ in range(rng.choice((33, 200, 900))):
        value = [value] if rng.random() < 0.5 else {"k": value}
    return value


def content(rng: Random, one: Genuine) -> bytes:
    """Any value inside the payload, a decision's included, under the old signature."""
    document, envelope = opened(one)
    said = json.loads(b64decode(envelope["payload"]))
    _touch(rng, said)
    envelope["payload"] = b64encode(json.dumps(said, separators=(",", ":")).encode("utf-8", "surrogatepass")).decode()
    return dumped(document)


def _touch(rng: Random, said: Any) -> None:
    """Change one value somewhere in a document."""
    place = said
    while True:
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not names:
            return
        name = rng.choice(names)
        if not isinstance(place[name], dict | list) or not place[name] or rng.random() < 0.2:
            break
        place = place[name]
    _change(rng, place, name)


def _change(rng: Random, place: Any, name: Any) -> None:
    value = place[name]
    choice = rng.randrange(5)
    if choice == 0:
        del place[name]
    elif choice == 1 and isinstance(value, int):
        place[name] = rng.choice((value + 1, value - 1, 0, 2**64, 10**300))
    elif choice == 2 and isinstance(value, str):
        place[name] = rng.choice((value + "x", value[:-1], value.upper(), "VA", rfc3339(NOW + rng.random() * 1e6)))
    elif choice == 3:
        place[name] = _deep(rng)
    else:
        place[name] = rng.choice(VALUES)


def splice(rng: Random, one: Genuine) -> bytes:
    """One message's payload under another one's signatures, or the other way round."""
    document, envelope = opened(one)
    other = opened(rng.choice(CORPUS))[1]
    envelope[rng.choice(("payload", "signatures"))] = other[rng.choice(("payload", "signatures"))]
    return dumped(document)


def bomb(rng: Random, one: Genuine) -> bytes:
    """Depth, size, numbers without end: for the reader before any signature."""
    return rng.choice(
        (
            lambda: b"[" * rng.randrange(1, 100_000),
            lambda: b'{"a":' * rng.randrange(1, 20_000) + b"1" + b"}" * rng.randrange(20_000),
            lambda: one.raw + b" " * rng.choice((1, 300_000, 1_100_000)) + b"x",
            lambda: one.raw[:-1] + b',"n":' + b"9" * rng.randrange(1, 6000) + b"}",
            lambda: one.raw.replace(
                b'"payloadType"', b'"n":' + rng.choice((b"NaN", b"1e999", b"-Infinity")) + b',"payloadType"'
            ),
            lambda: b"\xef\xbb\xbf" + one.raw,
            lambda: one.raw.decode().encode(rng.choice(("utf-16", "utf-32", "utf-7"))) + b"x",
        )
    )()


# --- genuine, and in the wrong place ------------------------------------------------------------------------


def replay(rng: Random, one: Genuine) -> bytes:
    """What the signers really signed: earlier, for somebody else, or as something else."""
    keys = one.ring
    if one.name.startswith("trust"):
        return _replayed_trust(rng, keys)
    return rng.choice(
        (
            lambda: stream(keys, delta(keys, rng.randrange(1, HELD + 1), previous=0)),
            lambda: stream(keys, snapshot(keys, rng.randrange(1, HELD), patches=[])),
            lambda: stream(keys, heartbeat(HELD + 9, NOW - rng.choice((2, 3, 31, 1e6)))),
            lambda: stream(keys, rng.choice((snapshot, delta))(keys, tenant="VA")),
            lambda: stream(keys, heartbeat(tenant="VA")),
            lambda: stream(keys, snapshot(keys, service="BILLING")),
            lambda: stream(keys, delta(keys, service="BILLING", patches=[])),
            lambda: spelled(decided(keys)),
            lambda: spelled(step(keys, moved_on(keys))),
            lambda: opened_elsewhere(rng, one),
        )
    )()


def opened_elsewhere(rng: Random, one: Genuine) -> bytes:
    """A genuine message of the other ring: signed by too many or too few."""
    wrong = [other for other in CORPUS if len(other.ring.gov) != len(one.ring.gov)]
    return rng.choice(wrong).raw


def _replayed_trust(rng: Random, keys: Ring) -> bytes:
    old = keys.trust._replace(serial=rng.randrange(1, keys.trust.serial + 1), mgt=_pins((STRANGER,)))
    return rng.choice(
        (
            lambda: trust_file(step(keys, old)),
            lambda: dump(payload(moved_on(keys), rfc3339(NOW))).encode(),
            lambda: trust_file(step(keys, moved_on(keys), *keys.gov)),
            lambda: trust_file(step(keys, moved_on(keys), *keys.mgt)),
            lambda: trust_file(step(keys, moved_on(keys), NEXT, *keys.mgt)),
            lambda: trust_file(step(keys, moved_on(keys)), step(keys, old)),
            lambda: trust_file(json.loads(stream(keys, heartbeat()))),
        )
    )()


def insider(rng: Random, one: Genuine) -> bytes:
    """Whoever holds MGT's keys alone cannot decide for GOV, and whoever holds GOV's cannot speak for MGT."""
    keys = one.ring
    if one.name.startswith("trust"):
        return trust_file(step(keys, moved_on(keys), *rng.choice((keys.gov, keys.mgt, (NEXT,), (STRANGER, *keys.mgt)))))
    items = entries(keys)
    _spoil(rng, keys, items)
    make = rng.choice((snapshot, delta))
    if rng.random() < 0.1:
        return stream(keys, make(keys), *rng.choice((keys.gov, (STRANGER,), (*keys.mgt, STRANGER), (NEXT, STRANGER))))
    return stream(keys, make(keys, patches=items))


def _spoil(rng: Random, keys: Ring, items: list[dict[str, Any]]) -> None:
    """Make one of the entries what GOV did not decide for this stream."""
    victim, other = rng.sample(items, 2)
    said = json.loads(b64decode(victim["decision"]["payload"]))
    altered = said | rng.choice(
        ({"changes": {"rate_limit_rps": 9}}, {"priority": 9}, {"patch_id": 3}, {"expires": None})
    )
    victim["decision"] = rng.choice(
        (
            lambda: other["decision"],
            lambda: victim["decision"] | {"payload": other["decision"]["payload"]},
            lambda: victim["decision"] | {"signatures": other["decision"]["signatures"]},
            lambda: victim["decision"] | {"signatures": victim["decision"]["signatures"] * 2},
            lambda: victim["decision"] | {"signatures": victim["decision"]["signatures"][1:]},
            lambda: victim["decision"] | {"payload": b64encode(dumped(altered)).decode()},
            lambda: seal(DECISION, altered, *keys.mgt),
            lambda: seal(DECISION, altered, STRANGER),
            lambda: seal(STREAM, altered, *keys.gov),
            lambda: decided(keys, tenant="VA"),
            lambda: decided(keys, service="BILLING"),
            lambda: decided(keys, verdict="deny"),
            lambda: decided(keys, v=2),
        )
    )()


CORPUS = corpus()
MUTATIONS: tuple[Callable[[Random, Genuine], bytes], ...] = (
    flip,
    insert,
    delete,
    repeat,
    odd,
    space,
    escape,
    field,
    unsigned,
    twice,
    order,
    kind,
    signatures,
    base64,
    content,
    splice,
    bomb,
    replay,
    insider,
)
