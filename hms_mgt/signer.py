"""Signs what MGT says to its sidecars, and where its audit ends."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, SupportsBytes

from nacl.signing import SigningKey

from hms_mgt.domain.chain import HEAD_TYPE, Head, head_payload, opened_head
from hms_svc import wire


class Signer:
    """Holds MGT's private key, and shows it to nobody.

    `pinned` are the public keys of MGT that the trust file names: what an earlier key signed is still ours.
    """

    def __init__(self, key: SigningKey, pinned: Sequence[SupportsBytes] = ()) -> None:
        self._key = key
        self._known = tuple({bytes(one) for one in (key.verify_key, *pinned)})

    def stream_message(self, payload: Mapping[str, Any]) -> str:
        """Seal one stream message. Returns the envelope as JSON text."""
        return self._sealed(wire.STREAM, payload)

    def audit_head(self, head: Head) -> str:
        """Seal where a chain of the audit ends. Returns the envelope as JSON text."""
        return self._sealed(HEAD_TYPE, head_payload(head))

    def opened_head(self, envelope: str) -> Head | None:
        """Return what a sealed end of a chain says, or None when MGT did not sign it."""
        return opened_head(envelope, self._known)

    def _sealed(self, kind: str, payload: Mapping[str, Any]) -> str:
        return json.dumps(wire.seal(kind, dict(payload), self._key), separators=(",", ":"))
