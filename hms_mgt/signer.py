"""Signs what MGT says to its sidecars, and where its audit ends."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, SupportsBytes

from nacl.signing import SigningKey

from hms_mgt.domain.chain import HEAD_TYPE, Head, head_payload, opened_head
from hms_svc import wire
from hms_svc.trust import TRUST, Trust, payload


class Signer:
    """Holds MGT's private keys, and shows them to nobody. What sidecars obey is signed with all of them.

    `ours` tells the public keys that MGT has and had: what an earlier key signed is still ours. It is asked again when
    a stranger's signature turns up, for while keys are exchanged some processes sign with the next key already.
    """

    def __init__(self, *keys: SigningKey, ours: Callable[[], Iterable[SupportsBytes]] = tuple) -> None:
        self._keys = keys
        self._ours = ours
        self._known = self._look()

    def stream_message(self, said: Mapping[str, Any]) -> str:
        """Seal one stream message. Returns the envelope as JSON text."""
        return _text(wire.seal(wire.STREAM, dict(said), *self._keys))

    def signs_like(self, message: str) -> bool:
        """Tell whether a sealed message names exactly the keys that sign now as its signers."""
        names = [entry["keyid"] for entry in json.loads(message)["signatures"]]
        return sorted(names) == sorted(wire.key_id(key.verify_key) for key in self._keys)

    def next_trust(self, following: Trust, issued: float, more: Mapping[str, Any]) -> dict[str, Any]:
        """Sign who is trusted from then on, and what else is to be known. It counts once GOV has signed it, too."""
        return wire.seal(TRUST, {**payload(following, wire.rfc3339(issued)), **more}, *self._keys)

    def audit_head(self, head: Head) -> str:
        """Seal where a chain of the audit ends. Returns the envelope as JSON text.

        The first key signs alone: thresholds are about what sidecars obey.
        """
        return _text(wire.seal(HEAD_TYPE, head_payload(head), self._keys[0]))

    def opened_head(self, envelope: str) -> Head | None:
        """Return what a sealed end of a chain says, or None when MGT did not sign it."""
        found = opened_head(envelope, self._known)
        if found is None:
            self._known = self._look()
            found = opened_head(envelope, self._known)
        return found

    def _look(self) -> tuple[bytes, ...]:
        return tuple({bytes(one) for one in (*(key.verify_key for key in self._keys), *self._ours())})


def _text(envelope: dict[str, Any]) -> str:
    return wire.spelled(envelope).decode()
