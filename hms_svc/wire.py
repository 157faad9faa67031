"""What a message is before anyone asks what it says: canonical JSON, signed envelopes, pinned keys, instants.

GOV's decisions and MGT's stream messages both travel as DSSE envelopes with one Ed25519 signature over the
payload's type and its raw bytes. The order here is the security property: limit the size, verify, and only
then parse. An envelope has one accepted spelling (strict base64, exactly one signature, a key id that names
the key that verified), so no byte of it can be changed without a refusal. The key id never chooses the key:
every pinned key is tried.

What the payloads mean is `messages`' business; who may sign for whom is the trust file's.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from datetime import UTC, datetime
from json import JSONDecoder, dumps
from math import isinf
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from nacl.exceptions import BadSignatureError
from nacl.hash import generichash
from nacl.signing import SigningKey, VerifyKey

if TYPE_CHECKING:
    from collections.abc import Sequence

DECISION = "application/vnd.hms.decision+json"
STREAM = "application/vnd.hms.stream+json"
MAX_BYTES = 262_144
"""The largest message an agent reads, in bytes."""
ADMIT_ALL = 2**32
"""The cohort threshold above every rank."""

KEY_BYTES = 32
SIGNATURE_BYTES = 64

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


def canonical(value: Any) -> bytes:
    """The one JSON spelling of a value: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: it holds a NaN, an infinity or text that is not Unicode.
    """
    text = dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


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


def _json_object(text: bytes, what: str) -> dict[str, Any]:
    """Parse strictly: UTF-8, an object, no key twice, only finite numbers; nesting bombs are refused too."""
    try:
        value = _JSON.decode(text.decode())
    except (ValueError, RecursionError) as error:
        raise Refused("malformed", f"the {what} is not strict JSON: {error}") from None
    if not isinstance(value, dict):
        raise Refused("malformed", f"the {what} is not a JSON object")
    return value


def _b64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def _unb64(text: object) -> bytes:
    """Decode base64 that is spelled as we would spell it: padded, no stray character, no stray bit."""
    if not isinstance(text, str):
        raise ValueError("base64 must be text")  # noqa: TRY004 - callers turn one error into one refusal
    data = a2b_base64(text.encode("ascii"))
    if _b64(data) != text:
        raise ValueError("not canonical base64")
    return data


# --- envelopes ----------------------------------------------------------------------------------------------


def pae(payload_type: str, body: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed, so that no type is swapped later."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(body), body)


def seal(payload_type: str, payload: dict[str, Any], key: SigningKey) -> dict[str, Any]:
    """Sign a payload into a DSSE envelope."""
    body = canonical(payload)
    signature = key.sign(pae(payload_type, body)).signature
    return {
        "payloadType": payload_type,
        "payload": _b64(body),
        "signatures": [{"keyid": key_id(key.verify_key), "sig": _b64(signature)}],
    }


def unseal(envelope: dict[str, Any] | str | bytes, payload_type: str, keys: Sequence[VerifyKey]) -> dict[str, Any]:
    """Open an envelope one of the pinned keys signed as this type: verify, then parse.

    Raises:
        Refused: it is anything else.
    """
    opened = envelope if isinstance(envelope, dict) else _json_object(_limited(envelope), "envelope")
    if opened.get("payloadType") != payload_type:
        raise Refused("wrong_type", f"the envelope does not hold a {payload_type}")
    key_name, signature = _signature(opened)
    body = _body(opened)
    if key_name not in _verifiers(pae(payload_type, body), signature, keys):
        raise Refused("wrong_signature", "no pinned key made this signature")
    return _json_object(body, "payload")


def bare(envelope: dict[str, Any]) -> dict[str, Any]:
    """An opened envelope without fields we do not know: what is kept of it is what was verified."""
    return {
        "payloadType": envelope["payloadType"],
        "payload": envelope["payload"],
        "signatures": [{name: envelope["signatures"][0][name] for name in ("keyid", "sig")}],
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


def _signature(envelope: dict[str, Any]) -> tuple[object, bytes]:
    """The envelope's one signature, with the name it gives its key."""
    signatures = envelope.get("signatures")
    if not signatures or not isinstance(signatures, list):
        raise Refused("unsigned", "the envelope carries no signature")
    if len(signatures) != 1:
        raise Refused("wrong_signature", f"an envelope carries one signature, not {len(signatures)}")
    entry = signatures[0]
    if not isinstance(entry, dict) or not entry.get("sig"):
        raise Refused("unsigned", "the envelope's signature is empty")
    try:
        signature = _unb64(entry["sig"])
    except ValueError as error:
        raise Refused("malformed", f"signature: {error}") from None
    if len(signature) != SIGNATURE_BYTES:
        raise Refused("wrong_signature", f"a signature is {SIGNATURE_BYTES} bytes, not {len(signature)}")
    return entry.get("keyid"), signature


def _body(envelope: dict[str, Any]) -> bytes:
    text = envelope.get("payload")
    if isinstance(text, str) and len(text) > MAX_BYTES:
        raise Refused("too_large", f"a payload is at most {MAX_BYTES} bytes")
    try:
        return _unb64(text)
    except ValueError as error:
        raise Refused("malformed", f"payload: {error}") from None


def _verifiers(message: bytes, signature: bytes, keys: Sequence[VerifyKey]) -> list[str]:
    """The ids of the pinned keys that made this signature."""
    return [key_id(key) for key in keys if _verifies(key, message, signature)]


def _verifies(key: VerifyKey, message: bytes, signature: bytes) -> bool:
    try:
        key.verify(message, signature)
    except BadSignatureError:
        return False
    return True


# --- keys ---------------------------------------------------------------------------------------------------


class Trust(NamedTuple):
    """The public keys an agent pins: GOV's for decisions, MGT's for the stream; several, so keys rotate."""

    gov: tuple[VerifyKey, ...]
    mgt: tuple[VerifyKey, ...]


def key_id(key: VerifyKey) -> str:
    """A short name for a public key, for people and logs."""
    return generichash(bytes(key), digest_size=16).decode()[:16]


def load_trust(text: str) -> Trust:
    """Read a trust file.

    Raises:
        ValueError: it is not one, pins no key for a signer, or pins one key for both.
    """
    try:
        document = _json_object(text.encode(), "trust file")
    except Refused as refusal:
        raise ValueError(refusal.detail) from None
    if document.get("version") != 1:
        raise ValueError(f"trust file version {document.get('version')!r}: this agent reads version 1")
    trust = Trust(_pinned(document, "gov"), _pinned(document, "mgt"))
    if set(trust.gov) & set(trust.mgt):
        raise ValueError("the trust file pins one key for both gov and mgt: two signers need two keys")
    return trust


def _pinned(document: dict[str, Any], signer: str) -> tuple[VerifyKey, ...]:
    entries = document.get(signer)
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"the trust file pins no key under {signer!r}")
    return tuple(_public_key(entry, f"{signer}[{index}]") for index, entry in enumerate(entries))


def _public_key(entry: object, where: str) -> VerifyKey:
    if not isinstance(entry, dict):
        raise ValueError(f"trust file {where}: want an object with keyid and public")  # noqa: TRY004
    try:
        raw = _unb64(entry.get("public"))
    except ValueError as error:
        raise ValueError(f"trust file {where}.public: {error}") from None
    if len(raw) != KEY_BYTES:
        raise ValueError(f"trust file {where}.public: a key is {KEY_BYTES} bytes, not {len(raw)}")
    key = VerifyKey(raw)
    if entry.get("keyid", key_id(key)) != key_id(key):
        raise ValueError(f"trust file {where}: keyid is not this key's, which is {key_id(key)}")
    return key


def dump_trust(gov: Sequence[VerifyKey], mgt: Sequence[VerifyKey]) -> str:
    """Write the trust file that pins these keys."""
    document = {"version": 1, "gov": [_pin(key) for key in gov], "mgt": [_pin(key) for key in mgt]}
    return dumps(document, indent=2) + "\n"


def _pin(key: VerifyKey) -> dict[str, str]:
    return {"keyid": key_id(key), "public": _b64(bytes(key))}


def load_signing_key(text: str) -> SigningKey:
    """Read a key file: the base64 of the 32 byte seed, on one line.

    Raises:
        ValueError: it is not one. The message never shows what was read.
    """
    try:
        seed = _unb64(text.strip())
    except ValueError:
        seed = b""
    if len(seed) != KEY_BYTES:
        raise ValueError(f"not a signing key: want the base64 of {KEY_BYTES} bytes on one line")
    return SigningKey(seed)


def dump_signing_key(key: SigningKey) -> str:
    """Write the key file of a signing key."""
    return _b64(bytes(key)) + "\n"
