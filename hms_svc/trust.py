"""Trust files: which keys sign for GOV and for MGT, how many of them together, and which file may follow which.

A file is either plain, and then it is believed only by whoever has no keys yet, or it is a list of signed steps. Each
step is an envelope of its own type around the keys that count from then on, with the serial after the one before,
signed by as many keys of both signers as had to sign until then: GOV and MGT must agree on who they are. A file keeps
the steps it came by, so an agent that missed some of them can still follow. A file never expires: an agent has to
outlive its control plane.

Pure: where agents keep what they have pinned is `keyring`'s business.
"""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Any, NamedTuple

from hms_svc.wire import (
    Pins,
    Refused,
    b64,
    bare,
    instant,
    json_object,
    key_id,
    load_public_key,
    peek,
    unseal,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import SupportsBytes

TRUST = "application/vnd.hms.trust+json"
VERSION = 2
MAX_KEYS = 16
"""The most keys pinned for one signer."""
MAX_STEPS = 64
"""The most steps one file keeps; the oldest go first."""
MAX_BYTES = 1024 * 1024


class Trust(NamedTuple):
    """The public keys an agent pins: GOV's for decisions, MGT's for the stream; several, so keys rotate."""

    gov: Pins
    mgt: Pins
    serial: int = 0


def load_trust(text: str) -> Trust:
    """Read a trust file as somebody does who has no keys yet: its first step is taken at its word.

    Raises:
        ValueError: it is not one, pins no key for a signer, or pins one key for both.
    """
    try:
        document = _document(text)
        if "steps" not in document:
            return _trust(document)
        first, *later = _steps(document)
        return _walk(_trust(peek(first)), later)
    except Refused as refusal:
        raise ValueError(refusal.detail) from None


def succeed(pinned: Trust, text: str) -> Trust:
    """The trust after this file, for somebody who pinned `pinned`; the same when the file says nothing new.

    Raises:
        Refused: it does not follow from what is pinned, and changes nothing.
    """
    try:
        document = _document(text)
        if "steps" in document:
            return _followed(pinned, _steps(document))
        found = _trust(document)
    except ValueError as error:
        raise Refused("malformed", str(error)) from None
    if found == pinned:
        return pinned
    if found.serial < pinned.serial:
        raise Refused("replayed", f"a plain trust file of serial {found.serial} came, {pinned.serial} is pinned")
    raise Refused("unsigned", "the trust file was replaced by one that the pinned keys did not sign")


def _followed(pinned: Trust, steps: list[dict[str, Any]]) -> Trust:
    last = _trust(peek(steps[-1]))
    if last == pinned:
        return pinned
    if last.serial <= pinned.serial:
        raise Refused("replayed", f"a trust file of serial {last.serial} came, {pinned.serial} is pinned")
    return _walk(pinned, [step for step in steps if _serial(peek(step)) > pinned.serial])


def _walk(trust: Trust, steps: Sequence[dict[str, Any]]) -> Trust:
    """Follow the steps one by one; each is believed because the keys before it signed it."""
    for step in steps:
        serial = _serial(peek(step))
        if serial <= trust.serial:
            raise Refused("replayed", f"step {serial} of the trust file follows step {trust.serial}")
        if serial > trust.serial + 1:
            raise Refused("malformed", f"step {serial} of the trust file follows step {trust.serial}: one is missing")
        trust = _trust(unseal(step, TRUST, trust.gov, trust.mgt))
    return trust


def _document(text: str) -> dict[str, Any]:
    """The file's JSON. A signed one has one spelling and nothing in it that nobody signed, as messages have."""
    if len(text) > MAX_BYTES:
        raise Refused("too_large", f"a trust file is at most {MAX_BYTES} characters")
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raise Refused("malformed", "the trust file is not Unicode text") from None
    document = json_object(raw, "trust file")
    if "steps" in document and _without_space(raw) != dumps(_signed(_steps(document)), separators=(",", ":")).encode():
        raise Refused(
            "malformed", "the signed trust file has a field that nobody signed, or is not spelled as ours are"
        )
    return document


def _without_space(text: bytes) -> bytes:
    """JSON without white space between its tokens, for people lay these files out. A text that held some is another."""
    return text.translate(None, b" \t\r\n")


def _signed(steps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The document of a signed file."""
    try:
        return {"version": VERSION, "steps": [bare(step) for step in steps]}
    except (KeyError, AttributeError):
        raise Refused("malformed", "a step of the trust file is not an envelope") from None


def _steps(document: dict[str, Any]) -> list[dict[str, Any]]:
    steps = document["steps"]
    if document.get("version") != VERSION or not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        raise ValueError(f"a signed trust file is of version {VERSION} and holds 1 to {MAX_STEPS} steps")
    for step in steps:
        if not isinstance(step, dict) or step.get("payloadType") != TRUST:
            raise Refused("wrong_type", f"a step of the trust file does not hold a {TRUST}")
        if not isinstance(step.get("signatures"), list) or not step["signatures"]:
            raise Refused("unsigned", "a step of the trust file carries no signature")
    return steps


def _trust(document: dict[str, Any]) -> Trust:
    version = document.get("version")
    if type(version) is int and version == 1:
        trust = Trust(_pins(document.get("gov"), 1, "gov"), _pins(document.get("mgt"), 1, "mgt"))
    elif type(version) is int and version == VERSION:
        instant(str(document.get("issued")))
        trust = Trust(_group(document, "gov"), _group(document, "mgt"), _serial(document))
    else:
        raise ValueError(f"trust file version {version!r}: this agent reads versions 1 and {VERSION}")
    if {bytes(key) for key in trust.gov.keys} & {bytes(key) for key in trust.mgt.keys}:
        raise ValueError("the trust file pins one key for both gov and mgt: two signers need two keys")
    return trust


def _serial(document: dict[str, Any]) -> int:
    serial = document.get("serial")
    if type(serial) is not int or not 0 < serial < 2**63:
        raise ValueError("the trust file's serial is not a whole number from 1")
    return serial


def _group(document: dict[str, Any], signer: str) -> Pins:
    group = document.get(signer)
    if not isinstance(group, dict):
        raise ValueError(f"the trust file pins no key under {signer!r}")  # noqa: TRY004 - callers know one error
    return _pins(group.get("keys"), group.get("threshold"), signer)


def _pins(entries: object, threshold: object, signer: str) -> Pins:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"the trust file pins no key under {signer!r}")
    keys = tuple(_public_key(entry, f"{signer}[{index}]") for index, entry in enumerate(entries))
    if len(set(keys)) != len(keys) or len(keys) > MAX_KEYS:
        raise ValueError(f"the trust file pins a key of {signer!r} twice, or more than {MAX_KEYS}")
    if type(threshold) is not int or not 0 < threshold <= len(keys):
        raise ValueError(f"the trust file's threshold of {signer!r} is not a number from 1 to its {len(keys)} keys")
    return Pins(keys, threshold)


def _public_key(entry: object, where: str) -> bytes:
    if not isinstance(entry, dict):
        raise ValueError(f"trust file {where}: want an object with keyid and public")  # noqa: TRY004 - as above
    try:
        key = load_public_key(entry.get("public"))
    except ValueError as error:
        raise ValueError(f"trust file {where}.public: {error}") from None
    if entry.get("keyid", key_id(key)) != key_id(key):
        raise ValueError(f"trust file {where}: keyid is not this key's, which is {key_id(key)}")
    return key


# --- writing ------------------------------------------------------------------------------------------------


def dump_trust(gov: Sequence[SupportsBytes], mgt: Sequence[SupportsBytes]) -> str:
    """Write the plain trust file that pins these keys, any one of which signs for its signer."""
    document = {"version": 1, "gov": [_pin(key) for key in gov], "mgt": [_pin(key) for key in mgt]}
    return dumps(document, indent=2) + "\n"


def dump_plain(trust: Trust, issued: str) -> str:
    """Write a trust as a plain file, of version 1 where that was its own."""
    return dump(payload(trust, issued)) if trust.serial else dump_trust(trust.gov.keys, trust.mgt.keys)


def payload(trust: Trust, issued: str) -> dict[str, Any]:
    """The document of version 2 that says who is trusted: a plain file, or what a step signs."""
    groups = {
        name: {"threshold": pins.threshold, "keys": [_pin(key) for key in pins.keys]}
        for name, pins in (("gov", trust.gov), ("mgt", trust.mgt))
    }
    return {"version": VERSION, "serial": trust.serial, "issued": issued, **groups}


def dump(document: dict[str, Any]) -> str:
    """Write a document of version 2 as a file."""
    return dumps(document, indent=2) + "\n"


def appended(text: str, step: dict[str, Any]) -> str:
    """The file after one more step; what was no signed file starts a new one."""
    document = _document(text)
    earlier = document.get("steps", [])
    return dump(_signed([*earlier, step][-MAX_STEPS:]))


def last_step(text: str) -> dict[str, Any]:
    """The newest step of a signed file, verified by nobody.

    Raises:
        ValueError: it is no signed file.
    """
    try:
        return _steps(_document(text))[-1]
    except KeyError:
        raise ValueError("this trust file is plain: it has no step that could be signed") from None
    except Refused as refusal:
        raise ValueError(refusal.detail) from None


def earlier_steps(text: str) -> list[dict[str, Any]]:
    """What each step of a file says, the oldest first, verified by nobody; a plain file has none.

    Raises:
        ValueError: it is no trust file.
    """
    try:
        document = _document(text)
        return [peek(step) for step in _steps(document)] if "steps" in document else []
    except Refused as refusal:
        raise ValueError(refusal.detail) from None


def resigned(text: str, step: dict[str, Any]) -> str:
    """The signed file with its newest step as it is after somebody else signed it, too."""
    return dump(_signed([*_document(text)["steps"][:-1], step]))


def load_step(step: dict[str, Any]) -> Trust:
    """Whom a step says to trust, whoever signed it: to be shown, never to be believed.

    Raises:
        ValueError: it says nothing of that kind.
    """
    try:
        return _trust(peek(step))
    except Refused as refusal:
        raise ValueError(refusal.detail) from None


def _pin(key: SupportsBytes) -> dict[str, str]:
    return {"keyid": key_id(key), "public": b64(bytes(key))}
