"""An issuer of tokens with real keys behind real HTTP on loopback, that breaks as a test says. A fake."""

import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from hms_mgt.domain.access import Role
from hms_mgt.domain.identity import Binding, Issuer
from hms_mgt.identity.verify import Verifier
from hms_mgt.usecases.authenticate import Authenticator
from tests.mgt.conftest import Play, World

AUDIENCE = "https://mgt.example"
DISCOVERY = "/.well-known/openid-configuration"


def key(kid: str, algorithm: str = "RS256") -> Any:
    """The private key of this name, made once."""
    return _made(kid, algorithm)


@cache
def _made(kid: str, algorithm: str) -> Any:
    if algorithm.startswith("ES"):
        return ec.generate_private_key(
            {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}[algorithm]
        )
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if kid.startswith("weak") else 2048)


def jwk(kid: str, algorithm: str = "RS256", **more: Any) -> dict[str, Any]:
    """The public half, as it stands in a key set."""
    kinds = {"ES": ECAlgorithm, "Ed": OKPAlgorithm}
    kind: Any = kinds.get(algorithm[:2], RSAAlgorithm)
    return {**kind.to_jwk(key(kid, algorithm).public_key(), as_dict=True), "kid": kid, **more}


class FakeIssuer:
    """Serves its discovery document and its keys, counts who asks, and signs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys: list[dict[str, Any]] = [jwk("one")]
        self.asked: list[str] = []
        self.raw: bytes | None = None
        self.status = 200
        self.discovered: dict[str, Any] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def document(self, path: str) -> dict[str, Any]:
        if path == DISCOVERY:
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.discovered}
        return {"keys": self.keys}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                fake.asked.append(self.path)
                self.send_response(fake.status)
                if fake.status == 302:
                    self.send_header("Location", f"{fake.url}/elsewhere")
                self.end_headers()
                self.wfile.write(fake.raw or json.dumps(fake.document(self.path)).encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class named it
                pass

        return Handler

    def claims(self, **changed: Any) -> dict[str, Any]:
        """What a good token says; None leaves a claim out."""
        now = int(self.world.clock.now().timestamp())
        usual = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "groups": ["managers"], "iat": now, "exp": now + 300}
        return {name: value for name, value in {**usual, **changed}.items() if value is not None}

    def token(
        self,
        kid: str | None = "one",
        algorithm: str = "RS256",
        *,
        headers: Mapping[str, Any] = {},
        signed_by: Any = None,
        **changed: Any,
    ) -> str:
        named = {} if kid is None else {"kid": kid}
        private = signed_by or key(kid or "one", algorithm)
        return jwt.encode(self.claims(**changed), private, algorithm, {**named, **headers})

    def trusted(self, **changed: Any) -> Issuer:
        """What an operator wrote down of this issuer."""
        managers = Binding({"groups": ["managers"]}, Role.RELEASE_MANAGER, "IACB")
        usual: dict[str, Any] = {
            "name": "people",
            "issuer": self.url,
            "audience": frozenset({AUDIENCE}),
            "algorithms": frozenset({"RS256"}),
            "jwks_uri": f"{self.url}/keys",
            "leeway_s": 30,
            "name_claim": "sub",
            "bindings": (managers,),
        }
        return Issuer(**{**usual, **changed})


@contextmanager
def issuer(world: World, **changed: Any) -> Iterator[FakeIssuer]:
    """An issuer that the world trusts."""
    fake = FakeIssuer(world)
    trust(world, fake.trusted(**changed))
    try:
        yield fake
    finally:
        fake.stop()


def trust(world: World, *issuers: Issuer) -> None:
    """Have the world trust these issuers, as at a start."""
    monotonic = world.clock.monotonic
    world.authenticator = Authenticator(world.db, Verifier(issuers, monotonic), world.clock, monotonic)


def by_the_set_clock(play: Play) -> Play:
    """Have what is remembered of tokens age by the clock that the test sets."""

    def run(scene: Callable[[World], Awaitable[None]]) -> None:
        async def timed(world: World) -> None:
            trust(world)
            await scene(world)

        play(timed)

    return run
