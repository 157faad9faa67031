"""The two things the agent wants of libsodium, by PyNaCl's binding: Ed25519 signatures verified, and SHA-256.

PyNaCl's public modules wrap all that libsodium can do and would cost every pod 0.8 MiB and 6 ms; hashlib brings
OpenSSL. The binding's name is PyNaCl's own affair: where a release has another, its public functions do the same.
Whoever signs uses PyNaCl's own classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

KEY_BYTES = 32
SIGNATURE_BYTES = 64
SHA256_BYTES = 32


def verifies(key: bytes, message: bytes, signature: bytes) -> bool:
    """Whether this public key's owner made this signature over these bytes."""
    # libsodium reads as many bytes as it expects, however many there are.
    if len(key) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    return _opens(signature + message, key)


def sha256(data: bytes) -> str:
    """SHA-256 in hex, as everybody can compute it."""
    return _sha256(data).hex()


def _by_binding() -> tuple[Callable[[bytes, bytes], bool], Callable[[bytes], bytes]]:
    """Both from the binding; ImportError or AttributeError where it is not what it was."""
    from nacl._sodium import ffi, lib  # type: ignore[import-not-found] # noqa: PLC0415 - an extension without stubs

    new, buffer, sign_open, hash_sha256 = ffi.new, ffi.buffer, lib.crypto_sign_open, lib.crypto_hash_sha256
    if lib.sodium_init() < 0:
        raise ImportError("libsodium cannot be initialised")

    def opens(signed: bytes, key: bytes) -> bool:
        opened, length = new("unsigned char[]", len(signed)), new("unsigned long long *")
        return bool(sign_open(opened, length, signed, len(signed), key) == 0)

    def sha256(data: bytes) -> bytes:
        out = new("unsigned char[]", SHA256_BYTES)
        hash_sha256(out, data, len(data))
        return bytes(buffer(out))

    return opens, sha256


def _by_pynacl() -> tuple[Callable[[bytes, bytes], bool], Callable[[bytes], bytes]]:
    """Both from PyNaCl's public modules."""
    from nacl.bindings import crypto_hash_sha256, crypto_sign_open  # noqa: PLC0415 - heavy
    from nacl.exceptions import BadSignatureError  # noqa: PLC0415 - as above

    def opens(signed: bytes, key: bytes) -> bool:
        try:
            crypto_sign_open(signed, key)
        except BadSignatureError:
            return False
        return True

    return opens, crypto_hash_sha256


try:
    _opens, _sha256 = _by_binding()
except (ImportError, AttributeError):
    _opens, _sha256 = _by_pynacl()
