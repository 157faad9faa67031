"""Checks tokens of the issuers that the operator trusts, as RFC 8725 asks.

Everything that decides is pinned by configuration: the issuer, its audience, its algorithms, where its keys are. Of the
token's header only the algorithm and the key's id are read, to be compared with what is pinned.
"""

import base64
import json
import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NoReturn

import jwt

from hms_mgt.domain import identity
from hms_mgt.domain.access import Actor
from hms_mgt.domain.identity import Issuer, Stranger
from hms_mgt.errors import Unauthenticated
from hms_mgt.identity.issuers import ALGORITHMS
from hms_mgt.identity.jwks import Keys

_PARTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_JWS = jwt.PyJWS(algorithms=ALGORITHMS)


class Verifier:
    """Knows whom each trusted issuer's tokens speak for."""

    def __init__(self, issuers: Sequence[Issuer], monotonic: Callable[[], float]) -> None:
        self._trusted = {one.issuer: (one, Keys(one, monotonic)) for one in issuers}

    async def verify(self, token: str, now: datetime) -> Actor | Stranger:
        """Return whom a token speaks for.

        Raises:
            Unauthenticated: with words on what is wrong with it.
            Unavailable: its issuer's keys are not known now.
        """
        header, claimed = _opened(token)
        identity.check_header(header)
        # Whose word this would be. Nothing of it is believed before the signature says so.
        claimed_issuer = claimed.get("iss")
        trusted = self._trusted.get(claimed_issuer) if isinstance(claimed_issuer, str) else None
        if trusted is None:
            raise Unauthenticated("this token is from an issuer that is not known here")
        issuer, keys = trusted
        claims = _json(await _verified(token, header, issuer, keys))
        identity.check_claims(issuer, claims, now)
        return identity.subject(issuer, claims)

    async def close(self) -> None:
        """Close the connections."""
        for _, keys in self._trusted.values():
            await keys.close()


async def _verified(token: str, header: dict[str, Any], issuer: Issuer, keys: Keys) -> bytes:
    """Return what the token holds, once its signature is found good."""
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        raise Unauthenticated("this token's algorithm is not one that its issuer may use")
    if not (kid is None or isinstance(kid, str)):
        raise _malformed()
    public = await keys.find(kid, algorithm)
    try:
        payload: bytes = _JWS.decode(token, public, [algorithm])
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise Unauthenticated("this token's signature does not verify") from error
    return payload


def _opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read header and claims as they stand there, unverified."""
    parts = _PARTS.fullmatch(token)
    if parts is None or len(token) > identity.LARGEST:
        raise _malformed()
    return _json(_decoded(parts[1])), _json(_decoded(parts[2]))


def _decoded(segment: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except ValueError:
        raise _malformed() from None


def _json(raw: bytes) -> dict[str, Any]:
    """Read a JSON object strictly: with two members of one name, two readers could see two tokens."""
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_no_twins, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(found, dict):
        raise _malformed()
    return found


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("two members of one name")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _malformed() -> Unauthenticated:
    return Unauthenticated("this token cannot be read")
