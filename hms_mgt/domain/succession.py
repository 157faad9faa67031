"""Who signs next: what becomes of a trust when keys come and go, and which decisions that leaves behind."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, SupportsBytes

from hms_svc import wire
from hms_svc.trust import Trust, dump, earlier_steps, last_step, load_trust, payload

FORMER = "former"
"""The field of a step that names MGT's keys which it drops. Sidecars do not read it."""


class Change(NamedTuple):
    """What is to change: public keys to add, ids of keys to drop, and other thresholds, where they are named."""

    gov_add: Sequence[bytes] = ()
    mgt_add: Sequence[bytes] = ()
    drop: Sequence[str] = ()
    gov_threshold: int | None = None
    mgt_threshold: int | None = None


def following(trust: Trust, change: Change) -> Trust:
    """Return the trust after a change, with the next serial.

    Raises:
        ValueError: a key that is to go is not there, nothing changes, or nobody could sign by what would be left.
    """
    unknown = set(change.drop) - {wire.key_id(key) for key in (*trust.gov.keys, *trust.mgt.keys)}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: no such key is pinned")
    after = Trust(
        _changed(trust.gov, change.gov_add, change.drop, change.gov_threshold),
        _changed(trust.mgt, change.mgt_add, change.drop, change.mgt_threshold),
        trust.serial + 1,
    )
    if (after.gov, after.mgt) == (trust.gov, trust.mgt):
        raise ValueError("nothing would change: name keys to add or to drop, or a threshold")
    return load_trust(dump(payload(after, wire.rfc3339(0))))  # whatever a sidecar would not read is refused here


def _changed(pins: wire.Pins, added: Sequence[bytes], dropped: Iterable[str], threshold: int | None) -> wire.Pins:
    kept = tuple(key for key in pins.keys if wire.key_id(key) not in set(dropped))
    return wire.Pins((*kept, *added), pins.threshold if threshold is None else threshold)


def farewell(trust: Trust, after: Trust) -> dict[str, Any]:
    """Return what a step says of the keys of MGT that it drops: what they signed of the audit stays evidence."""
    gone = [key for key in trust.mgt.keys if bytes(key) not in set(map(bytes, after.mgt.keys))]
    return {FORMER: [wire.b64(bytes(key)) for key in gone]} if gone else {}


def every_key(text: str) -> list[SupportsBytes]:
    """Return every key of MGT that a trust file knows: those of today, and those dropped, which vouch for the past.

    Raises:
        ValueError: it is no trust file.
    """
    found = [*load_trust(text).mgt.keys]
    for said in earlier_steps(text):
        names = [entry["public"] for entry in said["mgt"]["keys"]]
        found += map(wire.load_public_key, [*names, *said.get(FORMER, ())])
    return found


def countersigned(text: str) -> bool:
    """Tell whether somebody besides MGT signed the newest step of a trust file; a plain one needs nobody.

    Raises:
        ValueError: it is no trust file.
    """
    if not earlier_steps(text):
        return True
    ours = {wire.key_id(key) for key in every_key(text)}
    return not ours.issuperset(signed_by(last_step(text)))


def holds(decision: Mapping[str, Any], gov: wire.Pins) -> bool:
    """Tell whether a decision verifies by these keys of GOV."""
    try:
        wire.unseal(dict(decision), wire.DECISION, gov)
    except wire.Refused:
        return False
    return True


def signed_by(envelope: Mapping[str, Any]) -> list[str]:
    """Return the ids of the keys that a decision or a step names."""
    return [str(entry["keyid"]) for entry in envelope["signatures"]]
