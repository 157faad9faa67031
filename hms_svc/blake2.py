"""BLAKE2b by Python's own binding: hashlib would bring OpenSSL, 3.7 MiB.

The binding's name is Python's own affair, and Pythons can be built without it. There libsodium does it, by PyNaCl.
"""

try:
    from _blake2 import blake2b
except ImportError:
    from nacl.bindings import crypto_generichash_blake2b_salt_personal as _by_sodium

    def digest(data: bytes, size: int) -> bytes:
        """The digest of these bytes, `size` bytes long."""
        return _by_sodium(data, digest_size=size)

else:

    def digest(data: bytes, size: int) -> bytes:
        """The digest of these bytes, `size` bytes long."""
        return blake2b(data, digest_size=size).digest()
