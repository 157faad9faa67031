"""The whole HTTP layer under made-up requests: never a 5xx, every error a problem with its request id.

What is asked comes from the OpenAPI document, so a new route is under fire from the day it is described.
"""

import asyncio
import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from itertools import product
from typing import Any, NamedTuple, cast
from urllib.parse import quote

import httpx
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hms_mgt.api.app import create_app
from hms_mgt.parts import Parts
from hms_mgt.validator import FIELDS
from tests.mgt.conftest import PATCH, World

OPERATIONS: Mapping[str, Any] = create_app(cast("Parts", None)).openapi()["paths"]
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW")
PARAMETERS = sorted(
    {
        parameter["name"]
        for operations in OPERATIONS.values()
        for operation in operations.values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] == "query"
    }
)
TARGETS = [*product(METHODS, [*OPERATIONS, "/", "/docs", "/openapi.json", "/nowhere/{id}"])]
# Once per test function is what is wanted: one service under many requests.
FUZZ = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))

# --- what people send ---------------------------------------------------------------------------------------

FRAGMENTS = ("\x00", "\ud800", "\udfff", "\ud83d", "\n", "\x7f", "/", "~", "..", "*", "é", "💩", "٣", "a", "IACB", "%")
text = st.text(max_size=20) | st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join)
instants = st.builds("2026-12-{}{}00:00{}".format, st.integers(0, 40), text | st.just("T"), text | st.just("Z"))
numbers = st.integers() | st.floats() | st.sampled_from([0, -1, 2**31, 2**53, 2**63, 10**400, 1e308, -0.0])
scalars = st.none() | st.booleans() | numbers | text | instants | st.sampled_from(["now", "14d", "x" * 5000])
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=4) | st.dictionaries(text, below, max_size=4), max_leaves=12
)
places = (
    st.sampled_from(
        [
            *((name,) for name in FIELDS),
            *(("changes", name) for name in ("rate_limit_rps", "replicas", "cpu", "memory", "a.b", "a")),
            *(("window", name) for name in ("start", "end", "duration")),
        ]
    )
    | st.tuples(text)
    | st.tuples(st.sampled_from(["changes", "window"]), text)
)


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """The usual patch with a few fields replaced, added or left out."""
    document: dict[str, Any] = deepcopy(dict(PATCH))
    for *above, name in draw(st.lists(places, min_size=1, max_size=3)):
        into = document[above[0]] if above and isinstance(document.get(above[0]), dict) else document
        if draw(st.booleans()) or name not in into:
            into[name] = draw(values)
        else:
            del into[name]
    return document


def as_json(document: Any) -> bytes:
    """Write JSON with everything that Python's own reader takes: `NaN`, and `\\ud800` alone."""
    return json.dumps(document).encode()


def as_yaml(document: Any) -> bytes:
    return yaml.safe_dump(document, allow_unicode=False).encode(errors="replace")


BOMBS = (
    b"",
    b"null",
    b"{",
    b"\xff\xfe\x00",
    b"[" * 60_000,
    b'{"a":' * 10_000,
    b"- " * 20_000,
    b"? " * 20_000,
    b"&a [*a]",
    b"a: !!python/object:os.system 1",
    b'{"priority": ' + b"9" * 5000 + b"}",
    b"priority: " + b"9" * 5000,
    b'{"changes": {"a": 1e999}}',
    b'{"a": 1, "a": 2}',
    b" " * 70_000,
    b" " * 1_100_000,
)
bodies = (
    documents().map(as_json)
    | documents().map(as_yaml)
    | st.builds(lambda reason: as_json({"reason": reason}), values)
    | values.map(as_json)
    | st.sampled_from(BOMBS)
    | st.binary(max_size=200)
)
media = st.sampled_from([b"application/json", b"application/yaml", b"text/x-yaml; charset=utf-8", b"", b"text/html"])
headers = st.lists(
    st.tuples(st.just(b"content-type"), media | st.binary(max_size=30))
    | st.tuples(
        st.sampled_from(
            [b"idempotency-key", b"x-request-id", b"host", b"content-length", b"last-event-id", b"if-match", b"accept"]
        ),
        st.binary(),
    )
    | st.tuples(st.just(b"authorization"), st.binary().map(b"Bearer ".__add__) | st.binary()),
    max_size=3,
)
callers = st.sampled_from(["release_manager@IACB", "release_manager@VA", "platform_admin@IACB", "viewer@VA", None])


def percent(words: str) -> str:
    """Encode for a URL, halves of surrogate pairs too."""
    return quote(words.encode(errors="surrogatepass"), safe="")


names = st.sampled_from(PARAMETERS) | text
known = st.sampled_from(
    [
        *("1", "0", "-1", str(2**63), "9" * 400, "IACB", "ARTIST_REGISTRY_API", "QUEUED", "MQ", "x" * 64),
        *("0-0", "2.1.0", "now", "2026-11-24T00:00Z", "true", "csv", "*", "patch/*", "viewer@IACB"),
    ]
)
steps = (known | text).map(percent)
queries = st.lists(st.builds("{}={}".format, names.map(percent), steps), max_size=3).map("&".join)


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, str, str]:
    """A method, a path and a URL that the path's parameters were filled in for."""
    method, path = draw(st.sampled_from(TARGETS))
    filled = "/".join(draw(steps) if step.startswith("{") else step for step in path.split("/"))
    return method, path, f"{filled}?{draw(queries)}"


# --- what is answered ---------------------------------------------------------------------------------------


class Service(NamedTuple):
    """The control plane in process, called one request at a time."""

    runner: asyncio.Runner
    world: World

    def ask(self, method: str, url: str, who: str | None, **more: Any) -> httpx.Response:
        given_headers = [*more.pop("headers", [])]
        if who is not None:
            given_headers.append((b"authorization", f"Bearer {who}".encode()))
        asked = self.world.client.request(method, url, headers=given_headers, **more)
        return self.runner.run(asked)


@pytest.fixture
def service(database: str) -> Iterator[Service]:
    with asyncio.Runner() as runner:
        world = World(database)
        runner.run(world.populate())
        made = Service(runner, world)
        runner.run(world.submit())
        yield made
        # Whatever was taken in can be shown.
        assert made.ask("GET", "/api/patch?limit=200", "viewer@IACB").status_code == 200
        runner.run(world.close())


def check(method: str, answer: httpx.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code < 400:
        return
    assert answer.headers["content-type"] == "application/problem+json"
    if method != "HEAD":
        problem = json.loads(answer.content.decode())
        assert problem["request_id"] == answer.headers["x-request-id"]
        assert problem["status"] == answer.status_code
        assert all(one["pointer"][:1] in {"", "/"} and one["detail"] for one in problem["errors"])


@FUZZ
@given(targets(), callers, headers, bodies)
def test_any_request_to_any_route(
    service: Service, target: tuple[str, str, str], who: str | None, sent: list[tuple[bytes, bytes]], body: bytes
) -> None:
    method, path, url = target
    answer = service.ask(method, url, who, headers=sent, content=body)
    check(method, answer)
    operation = OPERATIONS.get(path, {}).get(method.lower())
    if operation is not None:
        # A made-up id may lead to another path or to none.
        assert str(answer.status_code) in {*operation["responses"], "404", "405"}, answer.text


@FUZZ
@given(documents(), st.sampled_from([as_json, as_yaml]), st.binary() | st.none())
def test_any_patch_is_taken_in_and_shown_or_refused(
    service: Service, document: Any, write: Any, key: bytes | None
) -> None:
    sent = [(b"content-type", b"application/yaml" if write is as_yaml else b"application/json")]
    sent += [] if key is None else [(b"idempotency-key", key)]
    answer = service.ask("POST", "/api/patch", "release_manager@IACB", headers=sent, content=write(document))
    check("POST", answer)
    assert answer.status_code in {202, 403, 409, 422}
    if answer.status_code == 202:
        shown = service.ask("GET", answer.headers["location"], "viewer@IACB")
        assert shown.status_code == 200, shown.text


@FUZZ
@given(st.sampled_from(["cancel", "rollback"]), bodies, media)
def test_any_body_ends_a_patch_or_is_refused(service: Service, verb: str, body: bytes, kind: bytes) -> None:
    sent = [(b"content-type", kind)]
    answer = service.ask("POST", f"/api/patch/1/{verb}", "release_manager@IACB", headers=sent, content=body)
    check("POST", answer)
    assert answer.status_code in {202, 409, 413, 415, 422}
