"""Signs what MGT says to its sidecars."""

import json
from collections.abc import Mapping
from typing import Any

from nacl.signing import SigningKey

from hms_svc import wire


class Signer:
    """Holds MGT's private key, and shows it to nobody."""

    def __init__(self, key: SigningKey) -> None:
        self._key = key

    def stream_message(self, payload: Mapping[str, Any]) -> str:
        """Seal one stream message. Returns the envelope as JSON text."""
        return json.dumps(wire.seal(wire.STREAM, dict(payload), self._key), separators=(",", ":"))
