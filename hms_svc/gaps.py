"""What `{{gaps}}` are filled from: the effective document, and one thing more by which a process can prove itself.

A probe that the old configuration would pass as well proves nothing. `{{hms.conf_sha256}}` is the SHA-256 of conf.yml
as it is on disk, in hex, so it changes whenever anything in conf.yml does. A rendered file can have the process show
it, and a process that reads conf.yml can compute it. It is not part of conf.yml, nor of the digest the agent reports.
"""

from typing import Any

from nacl._sodium import ffi, lib  # type: ignore[import-not-found] # an extension without stubs

SPACE = "hms"
SHA256_BYTES = 32


def gap_values(document: dict[str, Any], text: str) -> dict[str, Any]:
    """The values for one conf.yml: its document, and our own name beside whatever it holds under `hms`."""
    inner = document.get(SPACE)
    ours = {"conf_sha256": sha256(text.encode())}
    return {**document, SPACE: {**inner, **ours} if isinstance(inner, dict) else ours}


def sha256(data: bytes) -> str:
    """SHA-256 in hex, as everybody can compute it."""
    out = ffi.new("unsigned char[]", SHA256_BYTES)
    lib.crypto_hash_sha256(out, data, len(data))
    return bytes(ffi.buffer(out)).hex()
