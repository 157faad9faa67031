"""Signs what MGT says to its sidecars, and where its audit ends."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, SupportsBytes

from nacl.signing import SigningKey

from hms_mgt.domain.chain import HEAD_TYPE, Head, head_payload, opened_head
from hms_svc import wire
from hms_svc.trust import TRUST, Trust, payload


class Signer:
    """Holds MGT's private keys, and shows them to nobody. What sidecars obey is signed with all of them.

    `pinned` are the public keys of MGT that the trust file names: what an earlier key signed is still ours.
    """

    def __init__(self, *keys: SigningKey, pinned: Sequence[SupportsBytes] = ()) -> None:
        self._keys = keys
        self._known = tuple({bytes(one) for one in (*(key.verify_key for key in keys), *pinned)})

    def stream_message(self, said: Mapping[str, Any]) -> str:
        """Seal one stream message. Returns the envelope as JSON text."""
        return _text(wire.seal(wire.STREAM, dict(said), *self._keys))

    def signs_like(self, message: str) -> bool:
        """Tell whether a sealed message names exactly the keys that sign now as its signers."""
        names = [entry["keyid"] for entry in json.loads(message)["signatures"]]
        return sorted(names) == sorted(wire.key_id(key.verify_key) for key in self._keys)

    def next_trust(self, following: Trust, issued: float) -> dict[str, Any]:
        """Sign who is trusted from then on. It counts once GOV has signed it, too."""
        return wire.seal(TRUST, payload(following, wire.rfc3339(issued)), *self._keys)

    def audit_head(self, head: Head) -> str:
        """Seal where a chain of the audit ends. Returns the envelope as JSON text.

        The first key signs alone: thresholds are about what sidecars obey.
        """
        return _text(wire.seal(HEAD_TYPE, head_payload(head), self._keys[0]))

    def opened_head(self, envelope: str) -> Head | None:
        """Return what a sealed end of a chain says, or None when MGT did not sign it."""
        return opened_head(envelope, self._known)


def _text(envelope: dict[str, Any]) -> str:
    return wire.spelled(envelope).decode()
