"""What a message is before anyone asks what it says: canonical JSON, signed envelopes, keys, instants.

GOV's decisions and MGT's stream messages both travel as DSSE envelopes with Ed25519 signatures over the
payload's type and its raw bytes. The order here is the security property: limit the size, verify, and only
then parse. An envelope has one accepted spelling (the fields that we write and no other, strict base64, exactly as
many signatures as must be, in the order of their key ids, each named after the key that made it), so no byte of
it can be changed without a refusal; only white space between the tokens of its JSON is nobody's secret. The key
id chooses among pinned keys only, and a name that is not the signer's is refused.

What the payloads mean is `messages`' business; who may sign for whom is the trust file's, in `trust`.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from functools import lru_cache
from json import JSONDecoder, JSONEncoder, dumps
from math import isinf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from hms_svc import blake2
from hms_svc.sodium import KEY_BYTES, SIGNATURE_BYTES, verifies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import UTC, datetime
    from typing import SupportsBytes

    from nacl.signing import SigningKey
else:  # before Python 3.13 `datetime` loads its twin written in Python first: half a megabyte, and 1 ms
    try:
        from _datetime import UTC, datetime
    except ImportError:  # its name is Python's own affair
        from datetime import UTC, datetime

DECISION = "application/vnd.hms.decision+json"
STREAM = "application/vnd.hms.stream+json"
MAX_BYTES = 262_144
"""The largest message an agent reads, in bytes."""
ADMIT_ALL = 2**32
"""The cohort threshold above every rank."""

Reason = Literal[
    "too_large",
    "malformed",
    "wrong_type",
    "unsigned",
    "wrong_signature",
    "wrong_tenant",
    "wrong_service",
    "replayed",
    "expired",
    "denied",
    "unsupported",
]


class Refused(Exception):
    """A message that must change nothing.

    `reason` is a stable code to count and alert on; `detail` says what was wrong, without the payload.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


# --- instants -----------------------------------------------------------------------------------------------

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)

_YEAR_9999 = 253_370_764_800  # beyond it rounding could leave what rfc3339 can write


def rfc3339(epoch: float) -> str:
    """Write epoch seconds as `2026-11-23T14:00:00.123456Z`, rounded to the microsecond."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def instant(text: str) -> float:
    """Read an RFC 3339 instant as epoch seconds; the seconds may be left out, the zone may not.

    Raises:
        ValueError: not such a text, or no such moment.
    """
    if not _INSTANT.fullmatch(text):
        raise ValueError(f"not an RFC 3339 instant such as 2026-11-23T14:00:00Z: {text[:64]!r}")
    epoch = datetime.fromisoformat(text).timestamp()
    if not 0 <= epoch < _YEAR_9999:
        raise ValueError(f"not an instant of the years 1970 to 9998: {text}")
    return epoch


# --- JSON and base64, each with one spelling ----------------------------------------------------------------


_CANONICAL = JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
_COMPACT = JSONEncoder(separators=(",", ":"))


def canonical(value: Any) -> bytes:
    """The one JSON spelling of a value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: it holds a NaN, an infinity or text that is not Unicode.
    """
    return _CANONICAL.encode(value).encode()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return mapping


def _finite(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise ValueError("a number too large for a float")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


_JSON = JSONDecoder(object_pairs_hook=_unique, parse_float=_finite, parse_constant=_no_constant)


def json_object(text: bytes, what: str) -> dict[str, Any]:
    """Parse strictly: UTF-8, an object, no key twice, only finite numbers; nesting bombs are refused too."""
    try:
        value = _JSON.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", f"the {what} is not strict JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused("malformed", f"the {what} is not a JSON object")
    return value


def b64(data: bytes) -> str:
    """Spell bytes in base64."""
    return b2a_base64(data, newline=False).decode()


def unb64(text: object) -> bytes:
    """Decode base64 that is spelled as we would spell it: padded, no stray character, no stray bit."""
    if not isinstance(text, str):
        raise ValueError("base64 must be text")  # noqa: TRY004 - callers turn one error into one refusal
    data = a2b_base64(text.encode("ascii"))
    if b64(data) != text:
        raise ValueError("not canonical base64")
    return data


# --- envelopes ----------------------------------------------------------------------------------------------


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed, so that no type is swapped later."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


class Pins(NamedTuple):
    """One signer's pinned public keys, and how many of them sign an envelope together."""

    keys: tuple[SupportsBytes, ...]
    threshold: int = 1

    @property
    def names(self) -> list[str]:
        """The keys' ids."""
        return [key_id(key) for key in self.keys]

    def share(self, other: Pins) -> bool:
        """Whether a key of one is a key of the other, so that what it signed there verifies here."""
        return not set(self.names).isdisjoint(other.names)


def seal(payload_type: str, payload: dict[str, Any], *keys: SigningKey) -> dict[str, Any]:
    """Sign a payload into a DSSE envelope, with each of the keys."""
    return countersign({"payloadType": payload_type, "payload": b64(canonical(payload)), "signatures": []}, *keys)


def countersign(envelope: dict[str, Any], *keys: SigningKey) -> dict[str, Any]:
    """Add the keys' signatures to an envelope that others may have signed. Whether they count says `unseal`.

    Raises:
        Refused: its payload is not base64.
    """
    message = pae(envelope["payloadType"], _body(envelope))
    made = {entry["keyid"]: entry["sig"] for entry in envelope["signatures"]}
    made |= {key_id(key.verify_key): b64(key.sign(message).signature) for key in keys}
    signatures = [{"keyid": name, "sig": made[name]} for name in sorted(made)]
    return {"payloadType": envelope["payloadType"], "payload": envelope["payload"], "signatures": signatures}


def spelled(envelope: dict[str, Any]) -> bytes:
    """The one spelling of an envelope as a message of its own."""
    return _COMPACT.encode(bare(envelope)).encode()


def _well_spelled(raw: bytes, opened: dict[str, Any]) -> bool:
    """Whether an envelope is spelled as ours are, or with the blanks that JSON libraries like to put in."""
    return raw == spelled(opened) or raw == dumps(bare(opened)).encode()


def unseal(envelope: dict[str, Any] | str | bytes, payload_type: str, *signers: Pins) -> dict[str, Any]:
    """Open an envelope that exactly as many keys of each signer as must be signed as this type: verify, then parse.

    A decision inside a message comes as an object: how it is spelled there is part of what MGT signed.

    Raises:
        Refused: it is anything else.
    """
    raw = None if isinstance(envelope, dict) else _limited(envelope)
    opened = envelope if isinstance(envelope, dict) else json_object(raw or b"", "envelope")
    if opened.get("payloadType") != payload_type:
        raise Refused("wrong_type", f"the envelope does not hold a {payload_type}")
    signatures = _signatures(opened, sum(pins.threshold for pins in signers))
    body = _body(opened)
    if raw is not None and not _well_spelled(raw, opened):
        raise Refused("malformed", "the envelope has a field that nobody signed, or is not spelled as ours are")
    _verify(pae(payload_type, body), signatures, signers)
    return json_object(body, "payload")


def peek(envelope: dict[str, Any]) -> dict[str, Any]:
    """What an envelope's payload says, whoever signed it: to be shown or sorted by, never to be obeyed.

    Raises:
        Refused: it holds no strict JSON.
    """
    return json_object(_body(envelope), "payload")


def bare(envelope: dict[str, Any]) -> dict[str, Any]:
    """An opened envelope without fields we do not know: what is kept of it is what was verified."""
    return {
        "payloadType": envelope["payloadType"],
        "payload": envelope["payload"],
        "signatures": [{name: entry.get(name) for name in ("keyid", "sig")} for entry in envelope["signatures"]],
    }


def _limited(message: str | bytes) -> bytes:
    """The message's bytes, when they are few enough to look at."""
    if len(message) <= MAX_BYTES:
        try:
            data = message.encode() if isinstance(message, str) else bytes(message)
        except UnicodeEncodeError:
            raise Refused("malformed", "the message is not Unicode text") from None
        if len(data) <= MAX_BYTES:
            return data
    raise Refused("too_large", f"a message is at most {MAX_BYTES} bytes")


def _signatures(envelope: dict[str, Any], count: int) -> list[tuple[str, bytes]]:
    """The envelope's signatures, each with the name it gives its key: as many as must be, each key's once."""
    entries = envelope.get("signatures")
    if not entries or not isinstance(entries, list):
        raise Refused("unsigned", "the envelope carries no signature")
    if len(entries) != count:
        raise Refused("wrong_signature", f"the envelope must carry {count} signatures and carries {len(entries)}")
    signatures = [_signature(entry) for entry in entries]
    names = [name for name, _ in signatures]
    if names != sorted(set(names)):
        raise Refused("wrong_signature", "signatures stand in the order of their key ids, each key's once")
    return signatures


def _signature(entry: object) -> tuple[str, bytes]:
    if not isinstance(entry, dict) or not entry.get("sig"):
        raise Refused("unsigned", "the envelope's signature is empty")
    try:
        signature = unb64(entry["sig"])
    except ValueError as error:
        raise Refused("malformed", f"signature: {error}") from None
    name = entry.get("keyid")
    if len(signature) != SIGNATURE_BYTES or not isinstance(name, str):
        raise Refused("wrong_signature", f"a signature is {SIGNATURE_BYTES} bytes and names its key")
    return name, signature


def _body(envelope: dict[str, Any]) -> bytes:
    text = envelope.get("payload")
    if isinstance(text, str) and len(text) > MAX_BYTES:
        raise Refused("too_large", f"a payload is at most {MAX_BYTES} bytes")
    try:
        return unb64(text)
    except ValueError as error:
        raise Refused("malformed", f"payload: {error}") from None


def _verify(message: bytes, signatures: Sequence[tuple[str, bytes]], signers: Sequence[Pins]) -> None:
    """Each signer's threshold is met exactly. There are as many signatures as that takes, so none is left over."""
    for pins in signers:
        made = [name for name, signature in signatures if _made(pins, name, message, signature)]
        if len(made) != pins.threshold:
            raise Refused("wrong_signature", _stranger(pins, [name for name, _ in signatures], signers))


def _stranger(pins: Pins, names: Sequence[str], signers: Sequence[Pins]) -> str:
    """Who signed and who should have, for the person who has to find out which side has the wrong keys."""
    pinned = {name for one in signers for name in one.names}
    others = [name if _KEY_ID.fullmatch(name) else "no key's name" for name in names if name not in pinned]
    said = f"no pinned key made one of the {pins.threshold} signatures"
    return f"{said}: {', '.join(others)} signed, pinned are {', '.join(pins.names)}" if others else said


def _made(pins: Pins, name: str, message: bytes, signature: bytes) -> bool:
    """Whether a pinned key of that name made this signature; no other name it could have would do."""
    return any(key_id(key) == name and verifies(bytes(key), message, signature) for key in pins.keys)


# --- keys ---------------------------------------------------------------------------------------------------


_KEY_ID = re.compile("[0-9a-f]{16}")


def key_id(key: SupportsBytes) -> str:
    """A short name for a public key, for people and logs."""
    return _name(bytes(key))


@lru_cache(maxsize=64)
def _name(key: bytes) -> str:
    return blake2.digest(key, 16).hex()[:16]


def load_public_key(text: object) -> bytes:
    """Read a public key: its base64.

    Raises:
        ValueError: it is not that of one.
    """
    key = unb64(text)
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key is {KEY_BYTES} bytes, not {len(key)}")
    return key


def load_signing_key(text: str) -> SigningKey:
    """Read a key file: the base64 of the 32 byte seed, on one line.

    Raises:
        ValueError: it is not one. The message never shows what was read.
    """
    try:
        seed = unb64(text.strip())
    except ValueError:
        seed = b""
    if len(seed) != KEY_BYTES:
        raise ValueError(f"not a signing key: want the base64 of {KEY_BYTES} bytes on one line")
    from nacl.signing import SigningKey  # noqa: PLC0415 - an agent signs nothing

    return SigningKey(seed)


def dump_signing_key(key: SigningKey) -> str:
    """Write the key file of a signing key."""
    return b64(bytes(key)) + "\n"
