"""Who signs next: what becomes of a trust when keys come and go, and which decisions that leaves behind."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from hms_svc import wire
from hms_svc.trust import Trust, dump, load_trust, payload


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


def holds(decision: Mapping[str, Any], gov: wire.Pins) -> bool:
    """Tell whether a decision verifies by these keys of GOV."""
    try:
        wire.unseal(dict(decision), wire.DECISION, gov)
    except wire.Refused:
        return False
    return True


def signed_by(decision: Mapping[str, Any]) -> list[str]:
    """Return the ids of the keys that a decision names."""
    return [str(entry["keyid"]) for entry in decision["signatures"]]
