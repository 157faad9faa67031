"""Verifies Ed25519 signatures with PyNaCl's libsodium, and loads nothing else of it.

`nacl.signing` wraps all that libsodium can do and would cost every pod 0.8 MiB and 6 ms; an agent only verifies.
Whoever signs uses PyNaCl's own classes.
"""

from nacl._sodium import ffi, lib  # type: ignore[import-not-found] # an extension without stubs

KEY_BYTES = 32
SIGNATURE_BYTES = 64

if lib.sodium_init() < 0:
    raise ImportError("libsodium cannot be initialised")


def verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this public key's owner made this signature over these bytes."""
    # libsodium reads as many bytes as it expects, however many there are.
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    signed = signature + message
    opened, length = ffi.new("unsigned char[]", len(signed)), ffi.new("unsigned long long *")
    return bool(lib.crypto_sign_open(opened, length, signed, len(signed), key) == 0)
