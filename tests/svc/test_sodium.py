"""The verification the agent stands on, beside PyNaCl's own."""

import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from hms_svc.sodium import verifies

KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)


@pytest.mark.parametrize("message", [b"", b"a", bytes(range(256)) * 1000])
def test_what_pynacl_signs_is_verified(message: bytes) -> None:
    assert verifies(PUBLIC, message, KEY.sign(message).signature)


def test_every_flipped_bit_is_refused_as_pynacl_refuses_it() -> None:
    message = b"the market opens"
    signature = KEY.sign(message).signature
    for at in range(8 * len(signature)):
        flipped = bytearray(signature)
        flipped[at // 8] ^= 1 << at % 8
        assert not verifies(PUBLIC, message, bytes(flipped))
        with pytest.raises(BadSignatureError):
            VerifyKey(PUBLIC).verify(message, bytes(flipped))
    assert not verifies(PUBLIC, message + b"!", signature)
    assert not verifies(bytes(SigningKey.generate().verify_key), message, signature)


def test_a_key_or_signature_of_another_length_is_never_read() -> None:
    message = b"the market opens"
    signature = KEY.sign(message).signature
    for key, sig in [(PUBLIC[:-1], signature), (b"", signature), (PUBLIC, signature[:-1]), (PUBLIC, signature + b"x")]:
        assert not verifies(key, message, sig)
    # One byte of the signature for one of the message: together they would be what was signed.
    assert not verifies(PUBLIC, message[1:], signature + message[:1])
