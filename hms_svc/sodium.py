"""The two things the agent wants of libsodium, by PyNaCl's binding: Ed25519 signatures verified, and SHA-256.

`nacl.signing` wraps all that libsodium can do and would cost every pod 0.8 MiB and 6 ms; hashlib brings OpenSSL.
Whoever signs uses PyNaCl's own classes.
"""

from nacl._sodium import ffi, lib  # type: ignore[import-not-found] # an extension without stubs

KEY_BYTES = 32
SIGNATURE_BYTES = 64
SHA256_BYTES = 32

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


def sha256(data: bytes) -> str:
    """SHA-256 in hex, as everybody can compute it."""
    out = ffi.new("unsigned char[]", SHA256_BYTES)
    lib.crypto_hash_sha256(out, data, len(data))
    return bytes(ffi.buffer(out)).hex()
