"""An issuer's public keys, fetched over HTTP and kept for a while.

Nobody can make us ask often: a key id that is not known is looked for at once, but not twice within ten seconds.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from hms_mgt.domain.identity import Issuer
from hms_mgt.errors import Unauthenticated, Unavailable
from hms_mgt.identity.issuers import check_url

_FRESH_S = 300
# So long the keys go on being good while the issuer cannot be reached.
_GOOD_S = 3600
_APART_S = 10
_ANSWER_WITHIN_S = 3.0
_LARGEST = 262_144
_SMALLEST_RSA = 2048
# By type and curve: what such a key can be for. A key is used for nothing else, whatever a token says.
_FITS: Mapping[tuple[Any, Any], tuple[str, ...]] = {
    ("RSA", None): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
_log = structlog.get_logger()


class Key(NamedTuple):
    """A public key and what it is for."""

    kid: str | None
    algorithms: frozenset[str]
    public: Any


class Keys:
    """One issuer's keys."""

    def __init__(self, issuer: Issuer, monotonic: Callable[[], float]) -> None:
        self._issuer = issuer
        self._monotonic = monotonic
        self._client = httpx.AsyncClient(timeout=_ANSWER_WITHIN_S, headers={"Accept-Encoding": "identity"})
        self._one_at_a_time = asyncio.Lock()
        self._keys: tuple[Key, ...] = ()
        self._fetched_at: float | None = None
        self._tried_at: float | None = None

    async def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the public key that a token names.

        Raises:
            Unauthenticated: the issuer has no such key.
            Unavailable: the issuer's keys are not known now.
        """
        if self._age() >= _FRESH_S:
            await self._renew()
        if kid is not None and kid not in {key.kid for key in self._keys}:
            await self._renew()
            if self._fetched_at != self._tried_at:
                raise Unavailable("the issuer of this token does not answer, and its key is not known yet")
        if self._age() >= _GOOD_S:
            raise Unavailable("the issuer of this token does not answer, so nobody can check it")
        return self._pick(kid, algorithm).public

    def _age(self) -> float:
        return float("inf") if self._fetched_at is None else self._monotonic() - self._fetched_at

    def _pick(self, kid: str | None, algorithm: str) -> Key:
        if kid is None and len(self._keys) != 1:
            raise Unauthenticated("this token does not say which of its issuer's keys it is signed with")
        named = [key for key in self._keys if kid is None or key.kid == kid]
        if not named:
            raise Unauthenticated("this token is signed with a key that its issuer does not have")
        fitting = [key for key in named if algorithm in key.algorithms]
        if not fitting:
            raise Unauthenticated("this token's key is not for its algorithm")
        return fitting[0]

    async def _renew(self) -> None:
        """Fetch the keys, unless that was tried just now. Who waits here for another's try is content with it."""
        async with self._one_at_a_time:
            now = self._monotonic()
            if self._tried_at is not None and now - self._tried_at < _APART_S:
                return
            self._tried_at = now
            try:
                async with asyncio.timeout(_ANSWER_WITHIN_S):
                    self._keys = await self._fetch()
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError) as error:
                _log.warning("an issuer's keys were not fetched", issuer=self._issuer.name, error=_words(error))
            else:
                self._fetched_at = now

    async def _fetch(self) -> tuple[Key, ...]:
        document = await self._get(self._issuer.jwks_uri or await self._discover())
        found = document.get("keys")
        if not isinstance(found, list):
            raise httpx.DecodingError("the answer holds no list of keys")
        return tuple(key for one in found if (key := _key(one)) is not None)

    async def _discover(self) -> str:
        document = await self._get(self._issuer.issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != self._issuer.issuer:
            raise ValueError("the discovery document is another issuer's")
        return check_url(str(document.get("jwks_uri")))

    async def _get(self, url: str) -> dict[str, Any]:
        """Read a JSON object; anything else is an empty one. Redirects are not followed: the URL is what is trusted."""
        raw = bytearray()
        async with self._client.stream("GET", url) as answer:
            if answer.status_code != httpx.codes.OK:
                raise ValueError(f"HTTP {answer.status_code}")
            async for chunk in answer.aiter_raw():
                raw += chunk
                if len(raw) > _LARGEST:
                    raise ValueError("the answer is too large")
        document = json.loads(raw)
        return document if isinstance(document, dict) else {}

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _key(one: Any) -> Key | None:
    """Read a key, or None where it is for something else, of a kind that is not taken, or too weak."""
    if not isinstance(one, dict) or not _is_for_verifying(one):
        return None
    fits = _FITS.get((str(one.get("kty")), str(one["crv"]) if "crv" in one else None), ())
    algorithms = frozenset(name for name in fits if one.get("alg", name) == name)
    kid = one.get("kid")
    if not algorithms or not (kid is None or isinstance(kid, str)):
        return None
    try:
        public = jwt.PyJWK(one, next(iter(algorithms))).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    if isinstance(public, RSAPublicKey) and public.key_size < _SMALLEST_RSA:
        return None
    return Key(kid, algorithms, public)


def _is_for_verifying(one: Mapping[str, Any]) -> bool:
    """Tell whether a key is public, and not for encryption."""
    operations = one.get("key_ops", ["verify"])
    return "d" not in one and one.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
