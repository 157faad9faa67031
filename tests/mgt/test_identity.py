"""Tokens of an issuer, as RFC 8725 asks: only what is signed, meant for us, in time and bound to a role gets in."""

import asyncio
import base64
import json
import math
import socket
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm
from starlette.requests import Request
from structlog.testing import capture_logs

from hms_mgt.api.auth import still_good
from hms_mgt.domain.access import Actor, Role
from hms_mgt.domain.identity import Binding, Issuer, Stranger, check_claims, subject
from hms_mgt.domain.rate import Rates
from hms_mgt.errors import Unauthenticated
from hms_mgt.usecases.limits import Limits
from tests.mgt.conftest import PATCH, Play, SetClock, World
from tests.mgt.issuer import AUDIENCE, DISCOVERY, FakeIssuer, issuer, jwk, key, trust
from tests.mgt.steps import review

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.=~!"


async def asked(world: World, token: str) -> tuple[int, str]:
    """Call with a token. Returns the status and, where it is a problem, the words."""
    answer = await world.call("GET", "/api/patch", token)
    return answer.status_code, answer.json().get("detail", "")


def raw(header: Any, payload: Any, signature: bytes = b"x") -> str:
    """Write a token of any parts."""
    texts = [part if isinstance(part, bytes) else json.dumps(part).encode() for part in (header, payload)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in (*texts, signature))


@pytest.mark.parametrize(
    "algorithm", ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
)
def test_a_good_token_is_an_actor_with_the_role_and_tenant_of_its_binding(play: Play, algorithm: str) -> None:
    async def scene(world: World) -> None:
        with issuer(world, algorithms=frozenset({algorithm})) as fake:
            fake.keys = [jwk("one", algorithm, use="sig", alg=algorithm), jwk("two")]
            token = fake.token("one", algorithm)
            posted = await world.call("POST", "/api/patch", token, json=dict(PATCH))
            assert posted.status_code == 202, posted.text
            shown = await world.call("GET", posted.headers["location"], token)
            assert shown.json()["author"] == "people:ann"
            other = await world.call("POST", "/api/patch", token, json={**PATCH, "tenant": "VA"})
            assert other.status_code == 403
            denied = world.sql("SELECT tenant, actor FROM audit WHERE action = 'denied'")
            assert denied == [("IACB", "people:ann")]

    play(scene)


def own_key(fake: FakeIssuer) -> str:
    attacker = key("attacker")
    return fake.token(signed_by=attacker, headers={"jwk": jwk("attacker"), "jku": f"{fake.url}/attacker"})


def confused(fake: FakeIssuer) -> str:
    """HS256 with the public key as the secret: PyJWT will not make such a token, so it is made by hand."""
    pem = key("one").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    unsigned = raw({"alg": "HS256", "typ": "JWT", "kid": "one"}, fake.claims()).rsplit(".", 1)[0]
    signature = base64.urlsafe_b64encode(algorithm.sign(unsigned.encode(), pem)).decode().rstrip("=")
    return f"{unsigned}.{signature}"


def twins(fake: FakeIssuer) -> str:
    """Two subjects in one token, both signed."""
    payload = json.dumps(fake.claims()).encode()[:-1] + b', "sub": "eve"}'
    return jwt.PyJWS().encode(payload, key("one"), "RS256", {"kid": "one"})


BAD: dict[str, tuple[Callable[[FakeIssuer], str], str]] = {
    "none": (lambda f: raw({"alg": "none"}, f.claims(), b""), "read"),
    "none-signed": (lambda f: raw({"alg": "none", "kid": "one"}, f.claims()), "algorithm"),
    "None": (lambda f: raw({"alg": "nOnE", "kid": "one"}, f.claims()), "algorithm"),
    "no-algorithm": (lambda f: raw({"kid": "one"}, f.claims()), "algorithm"),
    "confusion": (confused, "algorithm"),
    "other-algorithm-of-the-key": (lambda f: f.token("one", "RS512"), "algorithm"),
    "another-key": (lambda f: f.token(signed_by=key("other")), "signature"),
    "key-in-the-header": (own_key, "signature"),
    "x5u": (lambda f: f.token(signed_by=key("other"), headers={"x5u": f"{f.url}/x5u", "x5c": ["AAAA"]}), "signature"),
    "unknown-key": (lambda f: f.token("nobody"), "key"),
    "kid-is-no-text": (lambda f: raw({"alg": "RS256", "kid": 1}, f.claims()), "read"),
    "other-audience": (lambda f: f.token(aud="https://other.example"), "audience"),
    "audiences": (lambda f: f.token(aud=["https://other.example", f"{AUDIENCE}/"]), "audience"),
    "audience-is-no-text": (lambda f: f.token(aud=[AUDIENCE, 1]), "audience"),
    "no-audience": (lambda f: f.token(aud=None), "audience"),
    "other-issuer": (lambda f: f.token(iss="https://other.example"), "issuer"),
    "issuer-with-a-slash": (lambda f: f.token(iss=f"{f.url}/"), "issuer"),
    "no-issuer": (lambda f: f.token(iss=None), "issuer"),
    "issuer-is-a-list": (lambda f: raw({"alg": "RS256", "kid": "one"}, f.claims(iss=[f.url])), "issuer"),
    "expired": (lambda f: f.token(exp=f.claims()["iat"] - 30), "expired"),
    "no-expiry": (lambda f: f.token(exp=None), "no expiry"),
    "expiry-is-true": (lambda f: f.token(exp=True), "exp is not an instant"),
    "expiry-is-text": (lambda f: f.token(exp="9999999999"), "exp is not an instant"),
    "expiry-is-never": (lambda f: f.token(exp=10**400), "exp is not an instant"),
    "future-nbf": (lambda f: f.token(nbf=f.claims()["iat"] + 31), "not valid yet"),
    "future-iat": (lambda f: f.token(iat=f.claims()["iat"] + 31), "not valid yet"),
    "no-subject": (lambda f: f.token(sub=None), "sub"),
    "empty-subject": (lambda f: f.token(sub=""), "sub"),
    "long-subject": (lambda f: f.token(sub="a" * 256), "sub"),
    "two-lines": (lambda f: f.token(sub="ann\nroot"), "sub"),
    "space-around": (lambda f: f.token(sub="ann "), "sub"),
    "right-to-left": (lambda f: f.token(sub="ann\u202e"), "sub"),
    "type": (lambda f: f.token(headers={"typ": "secevent+jwt"}), "type"),
    "critical": (lambda f: f.token(headers={"crit": ["exp"], "exp": 1}), "extension"),
    "unencoded": (lambda _: raw({"alg": "RS256", "kid": "one", "b64": False, "crit": ["b64"]}, {}), "extension"),
    "oversized": (lambda f: f.token(more="x" * 8192), "too long"),
    "twins": (twins, "read"),
    "dots": (lambda _: "..", "read"),
    "garbage": (lambda _: "a.b.c", "read"),
    "no-object": (lambda _: raw([1], [2]), "read"),
    "deep": (lambda _: raw(b"[" * 4000, {}), "read"),
    "constant": (lambda _: raw(b'{"alg": NaN}', {}), "read"),
    "utf-16": (lambda _: raw('{"alg": "RS256"}'.encode("utf-16"), {}), "read"),
    "padded": (lambda f: f"{f.token()}==", "read"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_token_is_401_and_says_of_what_kind(play: Play, case: str) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            make, words = BAD[case]
            assert (await asked(world, fake.token()))[0] == 200
            status, detail = await asked(world, make(fake))
            assert (status, words in detail) == (401, True), detail
            assert set(fake.asked) == {"/keys"}, "nothing that a token points to is fetched"

    play(scene)


def test_clocks_may_differ_by_the_leeway_and_a_type_may_be_an_access_tokens(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            now = fake.claims()["iat"]
            for good in (
                fake.token(exp=now - 29),
                fake.token(nbf=now + 30, iat=now + 30),
                fake.token(headers={"typ": "at+jwt"}),
                fake.token(headers={"typ": "application/at+JWT"}),
                fake.token(aud=["https://other.example", AUDIENCE]),
                fake.token(exp=now + 0.5),
            ):
                assert (await asked(world, good))[0] == 200

    play(scene)


def test_a_token_need_not_name_the_only_key_and_must_name_one_of_several(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            assert (await asked(world, fake.token(None, signed_by=key("one"))))[0] == 200
            fake.keys.append(jwk("two"))
            world.clock.forward(minutes=5)
            status, words = await asked(world, fake.token(None, signed_by=key("one")))
            assert (status, "which of its issuer's keys" in words) == (401, True)

    play(scene)


def test_after_a_rotation_the_new_key_is_good_at_once_and_the_old_one_no_more(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            old = fake.token()
            assert (await asked(world, old))[0] == 200
            world.clock.forward(seconds=11)
            fake.keys = [jwk("two")]
            assert (await asked(world, old))[0] == 200, "nobody has told us yet"
            assert (await asked(world, fake.token("two")))[0] == 200
            assert (await asked(world, old))[0] == 401
            assert fake.asked == ["/keys", "/keys"]

    play(scene)


def test_a_key_that_left_is_refused_after_five_minutes_at_the_latest(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            assert (await asked(world, fake.token()))[0] == 200
            fake.keys = []
            world.clock.forward(seconds=299)
            assert (await asked(world, fake.token()))[0] == 200
            world.clock.forward(seconds=1)
            assert (await asked(world, fake.token()))[0] == 401

    play(scene)


def test_while_the_issuer_is_away_its_keys_are_good_for_an_hour(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            assert (await asked(world, fake.token()))[0] == 200
            fake.status = 500
            world.clock.forward(minutes=59)
            assert (await asked(world, fake.token()))[0] == 200
            world.clock.forward(minutes=1)
            assert await asked(world, fake.token()) == (
                503,
                "the issuer of this token does not answer, so nobody can check it",
            )
            fake.status = 200
            world.clock.forward(seconds=10)
            assert (await asked(world, fake.token()))[0] == 200

    play(scene)


def broken_bytes(fake: FakeIssuer, answer: bytes) -> None:
    fake.raw = answer


BROKEN: dict[str, Callable[[FakeIssuer], None]] = {
    "gone": FakeIssuer.stop,
    "error": lambda fake: setattr(fake, "status", 500),
    "redirect": lambda fake: setattr(fake, "status", 302),
    "no-json": lambda fake: broken_bytes(fake, b"<html>"),
    "no-object": lambda fake: broken_bytes(fake, b"[]"),
    "no-list": lambda fake: broken_bytes(fake, b'{"keys": {}}'),
    "deep": lambda fake: broken_bytes(fake, b"[" * 100_000),
    "large": lambda fake: broken_bytes(fake, b'{"keys": [' + b" " * 262_144 + b"]}"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_with_no_keys_to_be_had_it_is_503_and_the_log_says_why(play: Play, how: str) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake, capture_logs() as logs:
            token = fake.token()
            BROKEN[how](fake)
            assert (await asked(world, token))[0] == 503
            assert [line["event"] for line in logs] == ["an issuer's keys were not fetched"]
            assert "/elsewhere" not in fake.asked

    play(scene)


def test_an_issuer_that_accepts_and_says_nothing_is_503_soon(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hms_mgt.identity.jwks._ANSWER_WITHIN_S", 0.2)

    async def scene(world: World) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent, issuer(world) as fake:
            trust(world, fake.trusted(jwks_uri=f"http://127.0.0.1:{silent.getsockname()[1]}/keys"))
            async with asyncio.timeout(2):
                assert (await asked(world, fake.token()))[0] == 503

    play(scene)


def test_a_storm_of_unknown_keys_asks_the_issuer_once_in_ten_seconds(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            assert (await asked(world, fake.token()))[0] == 200
            for _ in range(3):
                world.clock.forward(seconds=10)
                before = len(fake.asked)
                tokens = [fake.token(f"made-up-{number}", signed_by=key("other")) for number in range(20)]
                answers = await asyncio.gather(*(asked(world, token) for token in tokens))
                assert {status for status, _ in answers} == {401}
                assert len(fake.asked) == before + 1
            fake.status = 500
            world.clock.forward(seconds=10)
            before = len(fake.asked)
            answers = await asyncio.gather(*(asked(world, fake.token("new")) for _ in range(20)))
            assert {status for status, _ in answers} == {503}, "it may be a key that the issuer just made"
            assert len(fake.asked) == before + 1
            assert (await asked(world, fake.token()))[0] == 200, "those that are known go on"

    play(scene)


def test_many_first_requests_fetch_the_keys_once(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            answers = await asyncio.gather(*(asked(world, fake.token()) for _ in range(20)))
            assert {status for status, _ in answers} == {200}
            assert fake.asked == ["/keys"]

    play(scene)


UNFIT: list[Any] = [
    jwk("one", use="enc"),
    jwk("one", key_ops=["encrypt"]),
    jwk("one", alg="RS512"),
    {**RSAAlgorithm.to_jwk(key("one"), as_dict=True), "kid": "one", "key_ops": ["sign", "verify"]},
    jwk("one", n="AAAA"),
    jwk("one", kty="oct", k="c2VjcmV0"),
    jwk("one", crv="P-256"),
    {"kid": "one"},
    "one",
]


@pytest.mark.parametrize("unfit", UNFIT, ids=range(len(UNFIT)))
def test_a_key_that_is_for_something_else_is_no_key(play: Play, unfit: Any) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            fake.keys = [unfit, jwk("two")]
            assert (await asked(world, fake.token("one")))[0] == 401
            assert (await asked(world, fake.token("two")))[0] == 200

    play(scene)


def test_a_weak_key_is_no_key(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            fake.keys = [jwk("weak"), jwk("one")]
            with pytest.warns(jwt.InsecureKeyLengthWarning):
                token = fake.token("weak")
            assert (await asked(world, token))[0] == 401

    play(scene)


def test_the_keys_are_where_the_discovery_document_says(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world, jwks_uri=None) as fake:
            assert (await asked(world, fake.token()))[0] == 200
            assert fake.asked == [DISCOVERY, "/keys"]

    play(scene)


@pytest.mark.parametrize(
    "said", [{"issuer": "https://other.example"}, {"jwks_uri": "http://0.0.0.0:{port}/keys"}, {"jwks_uri": None}]
)
def test_a_discovery_document_of_somebody_else_or_without_tls_is_not_followed(play: Play, said: dict[str, Any]) -> None:
    async def scene(world: World) -> None:
        with issuer(world, jwks_uri=None) as fake:
            # Every address of this machine, and none of loopback's.
            fake.discovered = {name: value and value.format(port=fake.port) for name, value in said.items()}
            assert (await asked(world, fake.token()))[0] == 503
            assert fake.asked == [DISCOVERY]

    play(scene)


def test_whom_no_binding_names_is_403_on_record_and_bounded(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            world.limits = Limits(Rates(1e6, 1e6, 1e6), world.clock.monotonic)
            token = fake.token(groups=["guests"])
            answer = await world.call("POST", "/api/patch", token, json=dict(PATCH))
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            (row,) = world.sql(
                "SELECT tenant, actor, role, subject, source, request_id FROM audit WHERE action = 'denied'"
            )
            request_id = answer.headers["x-request-id"]
            assert row == (None, "people:ann", None, "POST /api/patch", "127.0.0.1", request_id)
            statuses = [(await asked(world, token))[0] for _ in range(25)]
            assert statuses == [403] * 19 + [429] * 6, "anybody may have a public issuer's word"
            assert world.sql("SELECT count(*) FROM audit WHERE action = 'denied'") == [(20,)]
            assert (await asked(world, fake.token()))[0] == 200
            world.clock.forward(seconds=2)
            assert [(await asked(world, token))[0] for _ in range(3)] == [403, 403, 429]

    play(scene)


def test_no_claim_widens_a_tenant_or_a_role(play: Play) -> None:
    async def scene(world: World) -> None:
        with issuer(world) as fake:
            more: dict[str, Any] = {
                "tenant": "VA",
                "role": "platform_admin",
                "roles": ["platform_admin"],
                "scope": "*",
                "hms": {"tenant": None},
            }
            answer = await world.call("POST", "/api/patch", fake.token(**more), json={**PATCH, "tenant": "VA"})
            assert answer.status_code == 403
            assert (await world.call("GET", "/api/token", fake.token(**more))).status_code == 403

    play(scene)


@pytest.mark.parametrize(
    ("claim", "bound"),
    [
        (True, True),
        (1, False),
        (1.0, False),
        ("true", False),
        ([False, True], True),
        ({"true": True}, False),
        (None, False),
    ],
)
def test_a_claim_matches_as_what_it_is(claim: Any, bound: bool) -> None:  # noqa: FBT001 - a table's column
    verified = Binding({"email_verified": [True]}, Role.AUDITOR, None)
    trusted = Issuer("people", "", frozenset(), frozenset(), None, 0, "sub", (verified,))
    assert isinstance(subject(trusted, {"sub": "ann", "email_verified": claim}), Actor if bound else Stranger)


PIPELINE = Binding(
    {"repository": ["iacb/registry"], "repository_id": ["42"], "environment": ["production"]},
    Role.RELEASE_MANAGER,
    "IACB",
)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, 200),
        ({"environment": "staging"}, 403),
        ({"environment": "production-eu"}, 403),
        ({"environment": "Production"}, 403),
        ({"environment": None}, 403),
        ({"repository": "iacb/registry-fork"}, 403),
        ({"repository": "eve/registry"}, 403),
        ({"repository_id": "43"}, 403),
        ({"repository_id": 42}, 403),
    ],
)
def test_a_pipeline_is_bound_to_its_repository_and_environment(
    play: Play, changed: dict[str, Any], status: int
) -> None:
    async def scene(world: World) -> None:
        with issuer(world, name="github", bindings=(PIPELINE,)) as fake:
            assert (await asked(world, fake.token(**{**JOB, **changed})))[0] == status

    play(scene)


JOB: dict[str, Any] = {
    "repository": "iacb/registry",
    "repository_id": "42",
    "environment": "production",
    "groups": None,
}


def test_a_pipelines_word_on_a_patch_never_counts_even_where_its_role_would(play: Play) -> None:
    """Whoever may start it would otherwise approve by it what they submitted themselves."""

    async def scene(world: World) -> None:
        world.governance.obligations = [{"approvals": 1, "roles": ["release_manager"]}]
        patch_id = await world.submit()
        await review(world)
        with issuer(world, name="github", bindings=(PIPELINE,)) as fake:
            for verb, body in (("approve", {}), ("reject", {"comment": "no"})):
                answer = await world.call("POST", f"/api/patch/{patch_id}/{verb}", fake.token(**JOB), json=body)
                assert (answer.status_code, answer.json()["detail"]) == (
                    *(403, "a pipeline may not approve or reject a patch: people do"),
                )
        assert (await world.shown(patch_id))["status"] == "AWAITING_APPROVAL"

    play(scene)


PERSON = {"sub": "4711", "groups_direct": ["iacb/approvers"]}


@pytest.mark.parametrize(
    "pipelines",
    [
        {"sub": "project_path:iacb/registry:ref_type:branch:ref:main"},
        {"sub": "repo:iacb/registry:ref:refs/heads/main"},
        {"pipeline_source": "push"},
        {"ci_config_ref_uri": "gitlab.example/iacb/registry//.gitlab-ci.yml@refs/heads/main"},
        {"job_workflow_ref": "iacb/registry/.github/workflows/x.yml@refs/heads/main"},
    ],
)
def test_a_pipelines_token_is_never_taken_for_the_persons_who_started_it(pipelines: dict[str, str]) -> None:
    """A forge signs both with the same keys, and what a job says of its starter fits the people's bindings."""
    approvers = Binding({"groups_direct": ["iacb/approvers"]}, Role.APPROVER, "IACB")
    forge = Issuer("gitlab", "https://gitlab.example", frozenset(), frozenset(), None, 0, "sub", (approvers, PIPELINE))
    assert subject(forge, PERSON) == Actor("gitlab:4711", Role.APPROVER, "IACB")
    assert isinstance(subject(forge, {**PERSON, **pipelines}), Stranger)
    job = {**PERSON, **JOB, **pipelines}
    found = subject(forge, job)
    assert isinstance(found, Actor)
    assert (found.role, found.pipeline) == (Role.RELEASE_MANAGER, True)


def test_an_open_stream_ends_with_the_token_and_with_the_binding(play: Play) -> None:
    async def scene(world: World) -> None:
        app = world.client._transport.app  # type: ignore[attr-defined]

        def request(token: str) -> Request:
            return Request({"type": "http", "app": app, "headers": [(b"authorization", f"Bearer {token}".encode())]})

        with issuer(world) as fake:
            ann = Actor("people:ann", Role.RELEASE_MANAGER, "IACB", "127.0.0.1", "r-1")
            token = fake.token()
            assert await still_good(request(token), ann)
            assert not await still_good(request(token), ann._replace(tenant="VA"))
            assert not await still_good(request(fake.token(groups=["guests"])), ann)
            world.clock.forward(seconds=331)
            assert not await still_good(request(token), ann), "expired"
            fresh = fake.token()
            assert await still_good(request(fresh), ann)
            fake.stop()
            world.clock.forward(hours=1)
            assert not await still_good(request(fake.token()), ann), "nobody can tell"
        viewer = Actor("viewer@IACB", Role.VIEWER, "IACB")
        assert await still_good(request("viewer@IACB"), viewer)
        world.sql("UPDATE token SET revoked_at = now() WHERE name = 'viewer@IACB' RETURNING name")
        world.clock.forward(seconds=3)
        assert not await still_good(request("viewer@IACB"), viewer)

    play(scene)


# --- made-up tokens -----------------------------------------------------------------------------------------


@pytest.fixture
def service(database: str) -> Iterator[tuple[asyncio.Runner, World, FakeIssuer]]:
    with asyncio.Runner() as runner:
        world = World(database)
        runner.run(world.populate())
        with issuer(world, algorithms=frozenset({"ES256"})) as fake:
            fake.keys = [jwk("one", "ES256")]
            assert runner.run(asked(world, fake.token("one", "ES256")))[0] == 200
            yield runner, world, fake
        runner.run(world.close())


@st.composite
def mutations(draw: st.DrawFn) -> Callable[[str], str]:
    """Change, drop, add or move a few characters somewhere."""
    verb = draw(st.sampled_from(["change", "drop", "add", "swap", "cut"]))
    place, other = draw(st.floats(0, 1, exclude_max=True)), draw(st.floats(0, 1, exclude_max=True))
    letter = draw(st.sampled_from(ALPHABET))

    def mutate(token: str) -> str:
        at, to = sorted((math.floor(place * len(token)), math.floor(other * len(token))))
        parts = token.split(".")
        return {
            "change": token[:at] + letter + token[at + 1 :],
            "drop": token[:at] + token[at + 1 :],
            "add": token[:at] + letter + token[at:],
            "swap": ".".join(parts[:1] + parts[2:] + parts[1:2]),
            "cut": token[:at] + token[to + 1 :],
        }[verb]

    return mutate


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(mutations())
def test_a_token_changed_anywhere_is_refused(
    service: tuple[asyncio.Runner, World, FakeIssuer], mutate: Callable[[str], str]
) -> None:
    runner, world, fake = service
    token = fake.token("one", "ES256")
    changed = mutate(token)
    status, _ = runner.run(asked(world, changed))
    assert status == (200 if changed == token else 401)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(AUDIENCE),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["iss", "aud", "exp", "nbf", "iat", "sub", "groups"]), values))
def test_claims_of_any_shape_are_judged_and_never_a_bug(changed: dict[str, Any]) -> None:
    world = World.__new__(World)
    world.clock = SetClock()
    fake = FakeIssuer.__new__(FakeIssuer)
    fake.world, fake.url = world, "https://issuer.example"
    trusted, now = fake.trusted(), world.clock.now()
    claims = {**fake.claims(), **changed}
    try:
        check_claims(trusted, claims, now)
    except Unauthenticated:
        return
    assert claims["iss"] == fake.url
    assert AUDIENCE in ([claims["aud"]] if isinstance(claims["aud"], str) else claims["aud"])
    assert claims["exp"] > (now - timedelta(seconds=30)).timestamp()
    who = subject(trusted, claims)
    managers = claims["groups"] == "managers" or (isinstance(claims["groups"], list) and "managers" in claims["groups"])
    assert isinstance(who, Actor if managers else Stranger)
