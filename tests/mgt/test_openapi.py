"""The OpenAPI document and the published schema: complete, true to themselves, and in step with what decides."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hms_mgt import validator
from hms_mgt.api.app import create_app
from hms_mgt.api.schema import PATCH
from hms_mgt.api.schemas import PATCH_SCHEMA
from hms_mgt.domain.knobs import LARGEST_NUMBER
from hms_mgt.errors import Invalid
from hms_mgt.parts import Parts
from tests.mgt.conftest import Play, World

DOCUMENT: Mapping[str, Any] = create_app(cast("Parts", None)).openapi()
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Operation(NamedTuple):
    """One method of one path."""

    name: str
    told: Mapping[str, Any]

    @property
    def authenticated(self) -> bool:
        return "security" in self.told

    def bodies(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Its request body and its good answers, by media type."""
        for kind, body in self.told.get("requestBody", {}).get("content", {}).items():
            yield f"request {kind}", body
        for code, answer in self.told["responses"].items():
            if code < "300":
                yield from ((f"{code} {kind}", body) for kind, body in answer.get("content", {}).items())


OPERATIONS = [
    Operation(f"{method.upper()} {path}", told)
    for path, methods in DOCUMENT["paths"].items()
    for method, told in methods.items()
]
each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=[one.name for one in OPERATIONS])


def resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference."""
    name = schema.get("$ref", "").rpartition("/")[2]
    return DOCUMENT["components"]["schemas"][name] if name else schema


def examples(body: Mapping[str, Any]) -> list[Any]:
    """The examples of a body, or of any of the shapes it may have."""
    if "example" in body:
        return [body["example"]]
    schema = resolved(body["schema"])
    return [one for shape in (schema, *map(resolved, schema.get("anyOf", []))) for one in shape.get("examples", [])]


def complaints(schema: Mapping[str, Any], value: Any) -> list[str]:
    whole = {"components": DOCUMENT["components"], **schema}
    return [str(error) for error in jsonschema_rs.Draft202012Validator(whole).iter_errors(value)]


@each_operation
def test_each_operation_has_words_and_examples_that_its_own_schemas_accept(operation: Operation) -> None:
    assert operation.told["summary"]
    assert operation.told["description"]
    bodies = list(operation.bodies())
    assert bodies
    for name, body in bodies:
        found = examples(body)
        assert found, f"{name} has no example"
        for example in found:
            assert not complaints(body.get("schema", {"type": "string"}), example), name


@each_operation
def test_each_operation_says_what_it_may_be_refused_for(operation: Operation) -> None:
    told = set(operation.told["responses"])
    if operation.authenticated:
        assert {"401", "403", "429", "503"} <= told
    if operation.told.get("parameters"):
        assert "422" in told
    if "requestBody" in operation.told:
        assert {"413", "415", "422"} <= told
    for code in told:
        if code >= "400":
            ((kind, body),) = operation.told["responses"][code]["content"].items()
            assert (kind, body["schema"]) == (
                "application/problem+json",
                {"$ref": "#/components/schemas/Problem"},
            )


def bounded(schema: Mapping[str, Any]) -> bool:
    """Whether nobody can send endlessly much, or a number that no database holds."""
    kinds = [one for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return all(
        "$ref" in kind
        or kind.get("type") == "boolean"
        or "enum" in kind
        or {"minimum", "maximum"} <= set(kind)
        or "maxLength" in kind
        or "{" in kind.get("pattern", "")
        for kind in kinds
    )


@each_operation
def test_each_parameter_is_bounded_and_each_in_a_path_is_required(operation: Operation) -> None:
    parameters = operation.told.get("parameters", [])
    for parameter in parameters:
        assert bounded(parameter["schema"]), parameter
        assert parameter["required"] or parameter["in"] != "path"
    named = {f"{{{one['name']}}}" for one in parameters if one["in"] == "path"}
    assert named == {step for step in operation.name.split("/") if step.startswith("{")}


def test_all_but_health_and_schemas_ask_who_calls() -> None:
    open_to_all = {one.name for one in OPERATIONS if not one.authenticated}
    assert open_to_all == {"GET /livez", "GET /readyz", "GET /schemas/patch.json"}


def test_operation_ids_are_unique_and_nothing_of_the_framework_shows() -> None:
    names = [one.told["operationId"] for one in OPERATIONS]
    assert len(set(names)) == len(names)
    assert "ValidationError" not in str(DOCUMENT)


def test_a_method_that_a_path_has_not_is_answered_with_those_that_it_has(play: Play) -> None:
    async def scene(world: World) -> None:
        for path, methods in DOCUMENT["paths"].items():
            answer = await world.client.request("TRACE", path)
            assert answer.status_code == 405, path
            assert answer.headers["allow"] == ", ".join(sorted(map(str.upper, methods)))

    play(scene)


# --- the patch document, for editors -------------------------------------------------------------------------------

ACCEPTS = jsonschema_rs.Draft202012Validator(PATCH_SCHEMA).is_valid
GOOD: Mapping[str, Any] = PATCH["examples"][0]


def valid(document: Any) -> bool:
    try:
        validator.validate(document, NOW)
    except Invalid:
        return False
    return True


def test_the_schema_is_served_to_anybody_and_is_one(play: Play) -> None:
    async def scene(world: World) -> None:
        answer = await world.client.get("/schemas/patch.json")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/schema+json"
        assert answer.json() == PATCH_SCHEMA
        assert jsonschema_rs.meta.is_valid(answer.json())
        assert answer.json()["$id"] == "urn:hms:schema:patch"

    play(scene)


def test_the_schema_knows_the_fields_that_the_validator_knows_and_describes_each() -> None:
    assert set(PATCH["properties"]) == set(validator.FIELDS)
    assert all(field["description"] for field in PATCH["properties"].values())


ids = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9_-]{0,62}\Z")
lines = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=500)
steps = st.from_regex(r"\A[A-Za-z0-9_][A-Za-z0-9_-]{0,127}\Z") | st.sampled_from(["a", "b", "replicas", "x"])
paths = st.lists(steps, min_size=1, max_size=8).map(".".join)
numbers = st.integers(-LARGEST_NUMBER, LARGEST_NUMBER) | st.floats(-LARGEST_NUMBER, LARGEST_NUMBER)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=40) | st.just("x" * 4096) | st.just("a\n\tb")
values = st.recursive(
    scalars, lambda below: st.lists(below, max_size=3) | st.dictionaries(steps, below, max_size=3), max_leaves=6
)
known = {
    "rate_limit_rps": st.integers(1, 1000),
    "replicas": st.integers(1, 100),
    "cpu": st.sampled_from(["500m", "2", "1.5", "0.125k"]),
    "memory": st.sampled_from(["1Gi", "64Mi", "1T"]),
}
changes = st.builds(
    lambda mine, others: {**others, **mine},
    st.fixed_dictionaries({}, optional=known),
    st.dictionaries(paths, values, max_size=3),
)
instants = st.builds(
    "{}T{}{}".format,
    st.dates(NOW.date(), datetime(2090, 1, 1, tzinfo=UTC).date()),
    st.sampled_from(["00:00", "23:59:59", "12:00:00.123456789"]),
    st.sampled_from(["Z", "+01:00", "-12:30"]),
)
durations = st.sampled_from(["14d", "12h", "1h30m", "90s", "2w", "1w1d1h1m1s", "0w1s"])
windows = (
    st.none()
    | st.fixed_dictionaries({}, optional={"start": st.just("now") | instants, "end": st.none() | instants})
    | st.fixed_dictionaries({"duration": durations}, optional={"start": st.just("now") | instants, "end": st.none()})
)
selectors = st.sampled_from(
    [">=2.1.0", ">=2.1,<3", "~2.1", "^2", "2.1.x", "*", "=2.1.0", "2.1.0-cdc-boosters", "1.0.0-rc.1 || >= 2 , < 3", "2"]
)
patch_ids = st.integers(1, 2**63 - 1)
documents = st.fixed_dictionaries(
    {"service": ids, "version_selector": selectors, "changes": changes, "tenant": ids},
    optional={
        "window": windows,
        "priority": st.integers(0, 1000),
        "reason": lines,
        "supersedes": patch_ids | st.lists(patch_ids, max_size=20, unique=True),
        "break_glass": st.booleans(),
    },
)


@settings(max_examples=500, deadline=None)
@given(documents)
def test_what_the_validator_accepts_the_schema_accepts(document: dict[str, Any]) -> None:
    if valid(document):
        assert ACCEPTS(document), list(jsonschema_rs.Draft202012Validator(PATCH_SCHEMA).iter_errors(document))


def test_many_of_the_made_up_documents_are_good_ones() -> None:
    """Or the test above would show nothing."""
    outcomes: list[bool] = []

    @settings(max_examples=200, deadline=None, database=None)
    @given(documents)
    def look(document: dict[str, Any]) -> None:
        outcomes.append(valid(document))

    look()
    assert sum(outcomes) > len(outcomes) / 6


# What no field of this name may hold; `changes.a` is the knob `a`.
WRONG: Mapping[str, list[Any]] = {
    "service": ["", "A B", "t*", "a" * 64, "-a", 7, None],
    "tenant": ["", "A B", "t*", "a" * 64, "-a", 7, None],
    "version_selector": ["", "latest!", 21, None, "1" * 257, "é"],
    "changes": [{}, [], None, "a", {"a b": 1}, {"": 1}, {"a..b": 1}, {".": 1}, {"a" * 129: 1}, {"a.b.c.d.e.f.g.h": 1}],
    "changes.rate_limit_rps": [0, 1001, 2.5, "200", True, None],
    "changes.replicas": [0, 101, 2.5, "3", False, None],
    "changes.cpu": ["lots", 5, "", "1Zi", None, "-1", "1.2345"],
    "changes.memory": ["lots", 5, "", "1Zi", None, "-1", "1.2345"],
    "changes.a": ["x" * 4097, "\x00", "\x1f", 2**53 + 1, -(2**53) - 1],
    "window": ["always", [], 1, {"from": "now"}, {"end": "2027-01-01T00:00Z", "duration": "1d"}],
    "window.start": ["noon", "2026-11-20T00:00", "2026-11-20 00:00Z", "", None, 5],
    "window.end": ["now", "2026-11-20T00:00", "20261120T000000Z", 5, True],
    "window.duration": ["", "two weeks", "1s1d", "-1d", "1.5h", "1d ", 14],
    "priority": [-1, 1001, 1.5, "1", None, True],
    "reason": ["two\nlines", "\x00", "\x7f", "x" * 501, 1, None],
    "supersedes": [0, -1, 2**63, "784", None, [0], [1, 1], list(range(1, 22)), [[1]], {}, True],
    "break_glass": [1, "yes", None],
    "colour": ["red"],
}


def but(where: str, value: Any) -> dict[str, Any]:
    """The example, one thing changed."""
    name, _, below = where.partition(".")
    return {**GOOD, name: {below: value} if below else value}


BAD: list[Any] = [
    *(None, [], "text", {}),
    *({name: value for name, value in GOOD.items() if name != gone} for gone in GOOD if gone != "window"),
    *(but(where, value) for where, values in WRONG.items() for value in values),
]


@pytest.mark.parametrize("document", BAD, ids=range(len(BAD)))
def test_what_is_no_patch_both_refuse(document: Any) -> None:
    assert not valid(document)
    assert not ACCEPTS(document)


def test_the_example_is_taken_in(play: Play) -> None:
    async def scene(world: World) -> None:
        assert valid(GOOD)
        assert ACCEPTS(GOOD)
        assert (await world.call("POST", "/api/patch", json=dict(GOOD))).status_code == 202

    play(scene)
