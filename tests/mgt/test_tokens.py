"""Service tokens: made with an end, seen in use, and good for nothing within seconds of their revocation."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError
from typer.testing import CliRunner, Result

from hms_mgt.api.app import create_app
from hms_mgt.bootstrap import write_keys
from hms_mgt.cli import cli
from hms_mgt.domain.access import OPERATOR, Actor, Role
from hms_mgt.domain.service_token import parse_expiry
from hms_mgt.errors import Forbidden, Invalid, Unavailable
from hms_mgt.identity.verify import Verifier
from hms_mgt.secret import digest
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases import authenticate
from hms_mgt.usecases.authenticate import Authenticator
from hms_mgt.usecases.tokens import list_tokens, register_token, revoke_token
from tests.mgt.conftest import Play, World
from tests.mgt.issuer import by_the_set_clock
from tests.mgt.steps import NOW

ADMIN = "hms_admin"


async def make(world: World, name: str, role: Role = Role.VIEWER, tenant: str | None = "IACB", **more: Any) -> None:
    """Make a token whose text is `hms_` and its name."""
    what = StoredToken(name, role, tenant, **more)
    await register_token(world.db, digest(f"hms_{name}"), what, world.clock.now())


@pytest.fixture
def play(play: Play) -> Play:
    """As everywhere, but what is remembered of tokens ages by the clock that the test sets."""
    return by_the_set_clock(play)


@asynccontextmanager
async def replica(world: World) -> AsyncIterator[httpx.AsyncClient]:
    """Another process with the same database and a memory of its own."""
    monotonic = world.clock.monotonic
    own = Authenticator(world.db, Verifier((), monotonic), world.clock, monotonic)
    app: Any = create_app(SimpleNamespace(**{**vars(world), "authenticator": own}))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://other") as client:
        yield client
    await own.close()


async def on(client: httpx.AsyncClient, token: str) -> int:
    return (await client.get("/api/instance", headers={"Authorization": f"Bearer {token}"})).status_code


def test_a_revoked_token_is_refused_by_every_replica_within_two_seconds(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "admin", Role.PLATFORM_ADMIN, None)
        await make(world, "ann")
        async with replica(world) as other:
            assert [await on(client, "hms_ann") for client in (world.client, other)] == [200, 200]
            done = await world.call("POST", "/api/token/ann/revoke", ADMIN)
            assert done.status_code == 200
            world.clock.forward(seconds=2)
            assert [await on(client, "hms_ann") for client in (world.client, other)] == [401, 401]
            refused = await other.get("/api/instance", headers={"Authorization": "Bearer hms_ann"})
            assert refused.json()["detail"] == "this token is unknown or was revoked"

    play(scene)


def test_a_token_that_is_over_is_refused_that_instant(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "ann", expires_at=world.clock.now() + timedelta(seconds=10))
        assert await on(world.client, "hms_ann") == 200
        world.clock.forward(seconds=9.5)
        assert await on(world.client, "hms_ann") == 200
        world.clock.forward(seconds=0.5)
        answer = await world.call("GET", "/api/instance", "hms_ann")
        assert (answer.status_code, answer.json()["detail"]) == (401, "this token has expired")

    play(scene)


def test_a_new_token_is_known_a_second_after_it_was_tried_in_vain(play: Play) -> None:
    async def scene(world: World) -> None:
        assert await on(world.client, "hms_ann") == 401
        await make(world, "ann")
        world.clock.forward(seconds=1)
        assert await on(world.client, "hms_ann") == 200

    play(scene)


def test_most_requests_look_nothing_up_good_token_or_bad(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "ann")
        await on(world.client, "hms_ann")
        await on(world.client, "hms_eve")
        await world.authenticator.close()
        asked: list[str] = []
        event.listen(world.db.engine.sync_engine, "before_cursor_execute", lambda *args: asked.append(args[2]))
        for _ in range(20):
            assert await on(world.client, "hms_ann") == 200
            assert await on(world.client, "hms_eve") == 401
        assert not [query for query in asked if "token" in query]
        world.clock.forward(seconds=2)
        await on(world.client, "hms_ann")
        assert len([query for query in asked if "token" in query]) == 1

    play(scene)


def test_what_is_remembered_is_bounded_and_made_up_tokens_push_out_no_good_one(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticate, "_MOST_BAD", 3)
    monkeypatch.setattr(authenticate, "_MOST_GOOD", 2)

    async def scene(world: World) -> None:
        assert await on(world.client, "viewer@IACB") == 200
        for number in range(10):
            assert await on(world.client, f"hms_{number}") == 401
        assert not world.authenticator.is_guess("viewer@IACB")
        for who in ("auditor@IACB", "approver@IACB"):
            assert await on(world.client, who) == 200
        assert world.authenticator.is_guess("viewer@IACB"), "the longest unused goes first"
        assert (len(world.authenticator._bad), len(world.authenticator._good)) == (3, 2)

    play(scene)


def test_the_last_use_is_noted_once_a_minute(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "ann")
        query = "SELECT last_used_at FROM token WHERE name = 'ann'"
        began = world.clock.now()
        seen = []
        for _ in range(3):
            await on(world.client, "hms_ann")
            await world.authenticator.close()
            seen += [row[0] - began for row in world.sql(query)]
            world.clock.forward(seconds=30)
        assert seen == [timedelta(0), timedelta(0), timedelta(minutes=1)]

    play(scene)


def test_a_use_that_cannot_be_noted_is_nobodys_trouble(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        async def broken(*_: object) -> None:
            raise SQLAlchemyError("read only")

        monkeypatch.setattr("hms_mgt.store.tokens.touch", broken)
        assert await on(world.client, "viewer@IACB") == 200
        await world.authenticator.close()

    play(scene)


def test_with_the_database_away_it_is_503_and_never_an_old_memory(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        assert await on(world.client, "viewer@IACB") == 200
        monkeypatch.setattr("hms_mgt.store.tokens.find", _unavailable)
        assert await on(world.client, "viewer@IACB") == 200
        world.clock.forward(seconds=2)
        assert await on(world.client, "viewer@IACB") == 503

    play(scene)


async def _unavailable(*_: object) -> None:
    raise Unavailable("the database does not answer")


def test_tokens_are_listed_page_by_page_without_their_secret(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "admin", Role.PLATFORM_ADMIN, None)
        await make(world, "zoe", expires_at=world.clock.now() + timedelta(days=90))
        names: list[str] = []
        path: str | None = "/api/token?limit=4"
        while path is not None:
            page = await world.call("GET", path, ADMIN)
            assert page.status_code == 200, page.text
            names += [one["name"] for one in page.json()["items"]]
            link = page.headers.get("link")
            assert (link is None) == (page.json()["next_cursor"] is None)
            path = None if link is None else link.split(">")[0].lstrip("<")
        everyone = [f"{role}@{tenant}" for role in Role for tenant in ("IACB", "VA")]
        assert sorted(names) == sorted([*everyone, "admin", "zoe"])
        (zoe,) = (await world.call("GET", "/api/token?cursor=yan", ADMIN)).json()["items"]
        assert zoe == {
            "name": "zoe",
            "role": "viewer",
            "tenant": "IACB",
            "created_at": "2026-11-23T12:00:00Z",
            "expires_at": "2027-02-21T12:00:00Z",
            "last_used_at": None,
            "revoked_at": None,
        }
        only = (await world.call("GET", "/api/token?tenant=VA", ADMIN)).json()["items"]
        assert {one["tenant"] for one in only} == {"VA"}
        for bad in ("cursor=%00", "limit=0", "limit=201", "tenant=*", f"cursor={'x' * 256}"):
            assert (await world.call("GET", f"/api/token?{bad}", ADMIN)).status_code == 422, bad

    play(scene)


def test_a_tenants_administrator_sees_and_revokes_that_tenants_tokens_only(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "admin", Role.PLATFORM_ADMIN, None)
        mine = "platform_admin@IACB"
        seen = (await world.call("GET", "/api/token", mine)).json()["items"]
        assert {one["tenant"] for one in seen} == {"IACB"}
        assert (await world.call("GET", "/api/token?tenant=VA", mine)).json()["items"] == []
        for name in ("viewer@VA", "admin", "nobody"):
            answer = await world.call("POST", f"/api/token/{name}/revoke", mine)
            assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no token named {name}")
        assert (await world.call("POST", "/api/token/viewer@IACB/revoke", mine)).status_code == 200
        assert world.sql("SELECT name FROM token WHERE revoked_at IS NOT NULL") == [("viewer@IACB",)]

    play(scene)


def test_only_administrators_see_or_revoke_tokens_and_others_are_on_record(play: Play) -> None:
    async def scene(world: World) -> None:
        others = [role for role in Role if role is not Role.PLATFORM_ADMIN]
        for role in others:
            assert (await world.call("GET", "/api/token", f"{role}@IACB")).status_code == 403
            assert (await world.call("POST", "/api/token/viewer@IACB/revoke", f"{role}@IACB")).status_code == 403
            actor = Actor("x", role, "IACB")
            with pytest.raises(Forbidden):
                await revoke_token(world.db, actor, "viewer@IACB", world.clock.now())
            with pytest.raises(Forbidden):
                await list_tokens(world.db, actor, None, "", 1)
        assert world.sql("SELECT count(*) FROM audit WHERE action = 'denied'") == [(2 * len(others),)]
        assert world.sql("SELECT * FROM token WHERE revoked_at IS NOT NULL") == []

    play(scene)


def test_making_and_revoking_is_on_record_and_revoking_twice_is_once(play: Play) -> None:
    async def scene(world: World) -> None:
        await make(world, "admin", Role.PLATFORM_ADMIN, None)
        until = world.clock.now() + timedelta(days=1)
        await make(world, "ann", expires_at=until)
        world.clock.forward(minutes=1)
        first = await world.call("POST", "/api/token/ann/revoke", ADMIN)
        world.clock.forward(minutes=1)
        again = await world.call("POST", "/api/token/ann/revoke", ADMIN)
        assert first.json() == again.json()
        assert first.json()["revoked_at"] == "2026-11-23T12:01:00Z"
        rows = world.sql(
            "SELECT action, tenant, actor, role, source, request_id, before, after FROM audit"
            " WHERE subject = 'token/ann' ORDER BY id"
        )
        after = {"role": "viewer", "tenant": "IACB", "expires_at": "2026-11-24T12:00:00Z"}
        assert rows == [
            ("token.created", "IACB", "operator", "platform_admin", "local", None, None, after),
            (
                "token.revoked",
                "IACB",
                "admin",
                "platform_admin",
                "127.0.0.1",
                first.headers["x-request-id"],
                {"role": "viewer", "revoked_at": None},
                {"role": "viewer", "revoked_at": "2026-11-23T12:01:00Z"},
            ),
        ]

    play(scene)


UNMADE: list[tuple[StoredToken, str, str]] = [
    (StoredToken("people:ann", Role.VIEWER, "IACB"), "/name", "letters"),
    (StoredToken("", Role.VIEWER, "IACB"), "/name", "letters"),
    (StoredToken("ann\n", Role.VIEWER, "IACB"), "/name", "letters"),
    (StoredToken("a" * 101, Role.VIEWER, "IACB"), "/name", "letters"),
    (StoredToken("operator", Role.VIEWER, "IACB"), "/name", "the platform itself"),
    (StoredToken("hms-mgt", Role.VIEWER, "IACB"), "/name", "the platform itself"),
    (StoredToken("ann", Role.RELEASE_MANAGER, None), "/tenant", "of one tenant"),
    (StoredToken("ann", Role.APPROVER, None), "/tenant", "of one tenant"),
    (StoredToken("ann", Role.VIEWER, "NOBODY"), "/tenant", "unknown tenant"),
    (StoredToken("ann", Role.VIEWER, "IACB", NOW - timedelta(days=1)), "/expires", "over already"),
]


@pytest.mark.parametrize(("what", "pointer", "words"), UNMADE, ids=range(len(UNMADE)))
def test_a_token_that_could_pass_for_another_or_reach_too_far_is_not_made(
    play: Play, what: StoredToken, pointer: str, words: str
) -> None:
    async def scene(world: World) -> None:
        with pytest.raises(Invalid) as refused:
            await register_token(world.db, digest("x"), what, world.clock.now())
        assert [(one.pointer, words in one.detail) for one in refused.value.problems] == [(pointer, True)]
        assert world.sql("SELECT * FROM token WHERE hash = %s", digest("x")) == []

    play(scene)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "duration"),
        ("soon", "duration"),
        ("0d", "longer than nothing"),
        ("11y", "duration"),
        ("2026-11-23T00:00", "timezone"),
        ("2026-11-22T00:00Z", "over already"),
        ("2026-13-01T00:00Z", "instant"),
    ],
)
def test_an_end_is_a_duration_or_an_instant_ahead(text: str, words: str) -> None:
    assert parse_expiry("90d", NOW) == NOW + timedelta(days=90)
    assert parse_expiry("2026-11-24T01:00+01:00", NOW) == NOW + timedelta(days=1)
    with pytest.raises(Invalid) as refused:
        parse_expiry(text, NOW)
    assert (refused.value.problems[0].pointer, words in refused.value.detail) == ("/expires", True)


@pytest.fixture
def run(database: str, tmp_path: Path) -> Callable[..., Result]:
    write_keys(tmp_path / "keys")
    env = {"HMS_DATABASE_URL": database, "HMS_KEYS": str(tmp_path / "keys")}
    return lambda *arguments: CliRunner().invoke(cli, list(arguments), env=env)


def test_operators_make_list_and_revoke_tokens(run: Callable[..., Result]) -> None:
    made = run("token", "create", "--role", "approver", "--tenant", "IACB", "--name", "ann", "--expires", "90d")
    assert made.exit_code == 0, made.output
    assert made.stdout.startswith("hms_")
    assert run("token", "create", "--role", "auditor", "--name", "bob").exit_code == 0
    assert run("token", "revoke", "bob").exit_code == 0
    table = run("token", "list")
    assert made.stdout.strip() not in table.stdout
    head, ann, bob = (line.split() for line in table.stdout.splitlines())
    assert head == ["NAME", "ROLE", "TENANT", "CREATED_AT", "EXPIRES_AT", "LAST_USED_AT", "REVOKED_AT"]
    assert (ann[:3], ann[5:]) == (["ann", "approver", "IACB"], ["-", "-"])
    assert (bob[:3], bob[4:6]) == (["bob", "auditor", "-"], ["-", "-"])
    shown = json.loads(run("token", "list", "--json").stdout)
    assert [(one["name"], one["tenant"], one["revoked_at"] is None) for one in shown] == [
        ("ann", "IACB", True),
        ("bob", None, False),
    ]
    assert [one["name"] for one in json.loads(run("token", "list", "--tenant", "IACB", "--json").stdout)] == ["ann"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--role", "approver"), "/tenant: an approver is of one tenant"),
        (("--role", "auditor", "--name", "a:b"), "/name: "),
        (("--role", "auditor", "--expires", "yesterday"), "/expires: "),
        (("--role", "auditor", "--expires", "2020-01-01T00:00Z"), "/expires: is over already"),
    ],
)
def test_what_an_operator_cannot_make_is_one_line(
    run: Callable[..., Result], arguments: tuple[str, ...], words: str
) -> None:
    refused = run("token", "create", *arguments)
    assert (refused.exit_code, words in refused.stderr, refused.stdout) == (2, True, "")
    assert json.loads(run("token", "list", "--json").stdout) == []


def test_a_name_is_taken_once(play: Play) -> None:
    async def scene(world: World) -> None:
        answers = await asyncio.gather(
            *(
                register_token(
                    world.db, digest(f"x{number}"), StoredToken("ann", Role.VIEWER, "IACB"), world.clock.now()
                )
                for number in range(3)
            ),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in answers) == ["Conflict", "Conflict", "NoneType"]
        assert [one.name for one in await list_tokens(world.db, OPERATOR, None, "amy", 1)] == ["ann"]

    play(scene)
