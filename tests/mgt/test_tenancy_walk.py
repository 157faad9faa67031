"""No tenant meets anything of another, whatever it asks for: every operation, every role, every field with a name.

The requests are made from the OpenAPI document and from `rules.py`. Everything that the tenant VA has bears a canary;
callers of the tenant IACB ask for it in every place where something can be asked for.
"""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import psycopg
from fastapi import APIRouter

from hms_mgt.api.app import create_app
from hms_mgt.domain.access import Role
from hms_mgt.store.tables import metadata
from tests.mgt.conftest import Play, World
from tests.mgt.filled import UNBOUND, fill_iacb, fill_va
from tests.mgt.rules import NAMING, RULES, Field, Operation, Rule, complaints, operations

# A word, or a number that is not part of some digest.
CANARY = re.compile(r"CANARY[\w.-]*|(?<![0-9a-f])7700\d{5}(?![0-9a-f])")
CALLERS = [f"{role}@IACB" for role in Role]
DOCUMENT = create_app(None).openapi()  # type: ignore[arg-type]
OPERATIONS = operations(DOCUMENT)


# --- the scene: what both tenants have ------------------------------------------------------------------------------


class Scene(NamedTuple):
    """What there is to ask for. What belongs to VA comes as all the values that a field of that name is tried with."""

    client: httpx.AsyncClient
    own: Mapping[str, Any]
    foreign: Mapping[str, list[Any]]
    # What tells of VA and bears no canary.
    opaque: list[str]
    # As a superuser, to see that nothing of VA's changed.
    db: psycopg.Connection[Any]


@asynccontextmanager
async def scene_in(world: World) -> AsyncIterator[Scene]:
    with psycopg.connect(world.url, autocommit=True) as db:
        # Numbers as nobody else's.
        number_from(db, 770000001)
        foreign, opaque = await fill_va(world)
        number_from(db, 1)
        yield Scene(world.client, await fill_iacb(world), foreign, opaque, db)


def number_from(db: psycopg.Connection[Any], first: int) -> None:
    for sequence in ("patch_id_seq", "freeze_window_id_seq", "patch_event_id_seq"):
        db.execute(f"ALTER SEQUENCE {sequence} RESTART WITH {first}".encode())


# --- requests -------------------------------------------------------------------------------------------------------


def written(scene: Scene, operation: Operation, foreign: Mapping[Field, Any]) -> httpx.Request:
    """Write a request that would be right, but for what is foreign in it."""
    asked = {name: scene.own.get(value, value) for name, value in RULES[operation.name].fields.items()}
    required = {one["name"] for one in operation.told.get("parameters", []) if one["required"]}
    told: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "body": dict(operation.example)}
    for field in operation.fields():
        if field in foreign:
            told[field.place][field.name] = foreign[field]
        elif field.name in asked:
            told[field.place][field.name] = asked[field.name]
        elif field.name in required or (field.name in told["body"] and field.name in NAMING):
            told[field.place][field.name] = scene.own[field.name]
    path = operation.path.format(**told["path"])
    body = told["body"] if "requestBody" in operation.told else None
    return scene.client.build_request(operation.method, path, params=told["query"], headers=told["header"], json=body)


def reaching(scene: Scene, operation: Operation) -> Iterator[Mapping[Field, Any]]:
    """Every way to reach for what is VA's: in one place after the other, in all of them at once, in no place at all."""
    places = [field for field in operation.fields() if field.name in NAMING]
    foreign: list[Mapping[Field, Any]] = [{}, {field: scene.foreign[field.name][0] for field in places}]
    foreign += [{field: value} for field in places for value in scene.foreign[field.name]]
    for way in operation.ways(DOCUMENT["components"]["schemas"]):
        yield from ({**way, **one} for one in foreign)


async def send(scene: Scene, request: httpx.Request, who: str | None) -> httpx.Response:
    if who is not None:
        request.headers["Authorization"] = f"Bearer {who}"
    return await scene.client.send(request)


def leaked(scene: Scene, request: httpx.Request, answer: httpx.Response) -> set[str]:
    """What of VA's an answer holds, in its body or its headers, that the caller did not say first."""
    asked = f"{request.url} {request.headers} {request.content!r}"
    told = f"{answer.text} {answer.headers}"
    return set(CANARY.findall(told)) - set(CANARY.findall(asked)) | {one for one in scene.opaque if one in told}


# The names come from the schema.
OTHERS = [
    f"SELECT '{table.name}', md5(string_agg(t::text, '' ORDER BY t::text)) FROM {table.name} t"  # noqa: S608
    + (" WHERE tenant IS DISTINCT FROM 'IACB'" if "tenant" in table.columns else "")
    for table in metadata.sorted_tables
    if "tenant" in table.columns or table.name == "platform_cap"
]


def digests(scene: Scene) -> Mapping[str, str]:
    """A digest of each table's rows that are not IACB's, and of what binds every tenant."""
    return dict(scene.db.execute(" UNION ALL ".join(OTHERS).encode()).fetchall())


# --- the walk -------------------------------------------------------------------------------------------------------


def test_each_operation_and_each_field_has_a_rule() -> None:
    assert complaints(DOCUMENT) == []


def test_an_operation_or_a_field_without_a_rule_fails_with_words_that_help() -> None:
    app = create_app(None)  # type: ignore[arg-type]
    router = APIRouter()

    @router.get("/api/secret/{owner}")
    async def tell(owner: str) -> str:
        """Tell a secret."""
        return owner

    app.include_router(router)
    assert complaints(app.openapi()) == [
        "GET /api/secret/{owner}: nobody said whom it is for; add it to RULES in tests/mgt/rules.py",
        "GET /api/secret/{owner}: does owner (path) name what is somebody's? Add it to NAMING or OTHER",
    ]


def test_a_rule_without_an_operation_fails_with_words_that_help() -> None:
    paths = {path: told for path, told in DOCUMENT["paths"].items() if path != "/api/instance"}
    assert complaints({"paths": paths}) == [
        "GET /api/instance: there is no such operation; take it out of RULES",
    ]


# Tables in which nothing of VA's is in the scene.
EMPTY = {"ack_cursor", "platform_cap"}
# Reading comes first: afterwards IACB's own audit repeats what its callers reached for.
IN_TURN = sorted(OPERATIONS, key=lambda operation: operation.method != "GET")


def test_whatever_is_asked_for_nothing_of_another_tenant_is_told_or_touched(play: Play) -> None:
    async def scene_of(world: World) -> None:
        async with scene_in(world) as scene:
            before = digests(scene)
            assert {table for table, value in before.items() if value is None} <= EMPTY
            asked = 0
            for operation in IN_TURN:
                for foreign in reaching(scene, operation):
                    for who in CALLERS:
                        request = written(scene, operation, foreign)
                        answer = await send(scene, request, who)
                        words = f"{who}: {request.method} {request.url} {request.content!r}: {answer!r} {answer.text}"
                        assert answer.status_code < 500, words
                        assert not leaked(scene, request, answer), words
                        if any(field.place == "path" for field in foreign):
                            assert answer.status_code in {403, 404, 422}, words
                        assert digests(scene) == before, words
                        asked += 1
            print(f"{asked} requests to {len(OPERATIONS)} operations")  # noqa: T201 - shown with -s
            request = scene.client.build_request("GET", "/api/audit?format=jsonl")
            own = await send(scene, request, "auditor@IACB")
            assert '"denied"' in own.text
            assert leaked(scene, request, own) <= {str(one) for some in scene.foreign.values() for one in some}

    play(scene_of)


def test_the_canaries_are_there_to_be_met(play: Play) -> None:
    """Or the walk would show nothing: VA's own callers meet them wherever there is something to read."""

    async def scene_of(world: World) -> None:
        async with scene_in(world) as scene:
            met = set()
            readers = [one for one in OPERATIONS if one.method == "GET" and RULES[one.name].roles]
            for operation in readers:
                for foreign in reaching(scene, operation):
                    request = written(scene, operation, foreign)
                    if leaked(scene, request, await send(scene, request, "platform_admin@VA")):
                        met.add(operation.name)
            assert {one.name for one in readers} - met == {"GET /api/platform/cap", "GET /api/audit/head"}

    play(scene_of)


def expected(rule: Rule, role: Role, *, unbound: bool) -> bool:
    return role in rule.roles and (unbound or not rule.unbound)


def test_each_role_may_what_its_rule_says_and_nothing_else(play: Play) -> None:
    async def scene_of(world: World) -> None:
        async with scene_in(world) as scene:
            for operation in OPERATIONS:
                rule = RULES[operation.name]
                stranger = await send(scene, written(scene, operation, {}), None)
                assert (stranger.status_code == 401) == bool(rule.roles), (operation.name, stranger.text)
                worked = stranger.is_success
                for who in (*CALLERS, UNBOUND):
                    answer = await send(scene, written(scene, operation, {}), who)
                    said = f"{who}: {operation.name}: {answer.status_code} {answer.text}"
                    assert answer.status_code < 500, said
                    allowed = not rule.roles or expected(rule, Role(who.split("@")[0]), unbound=who == UNBOUND)
                    assert (answer.status_code == 403) != allowed, said
                    assert allowed or answer.json()["code"] == "forbidden", said
                    worked = worked or answer.is_success
                assert worked, f"{operation.name}: it worked for nobody: {said}"

    play(scene_of)
