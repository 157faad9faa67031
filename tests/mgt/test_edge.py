"""What stands around every operation: one credential, addresses that nobody makes up, answers that nobody keeps."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import structlog.testing
from starlette.requests import ClientDisconnect

from hms_mgt.api.app import create_app
from hms_mgt.api.server import Server
from tests.mgt.conftest import Play, World

GOOD = "Bearer viewer@IACB"


@asynccontextmanager
async def served(world: World, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The API behind a real server."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(create_app(world), **options)  # type: ignore[arg-type]
        running = asyncio.create_task(server.serve(sockets=[listening]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            yield client
        server.should_exit = True
        await running


@pytest.mark.parametrize(
    ("given", "status"),
    [
        (["Bearer viewer@IACB"], 200),
        (["bearer viewer@IACB"], 200),
        (["Bearer viewer@IACB", "Bearer nobody"], 401),
        (["Bearer nobody", "Bearer viewer@IACB"], 401),
        (["Bearer viewer@IACB", "Basic bm9ib2R5"], 401),
        (["Bearer viewer@IACB, Bearer nobody"], 401),
        (["Bearer viewer@IACB nobody"], 401),
        (["Basic dmlld2VyQElBQ0I6"], 401),
        (["Bearer VIEWER@IACB"], 401),
        (["viewer@IACB"], 401),
        (["Bearer"], 401),
        ([], 401),
    ],
)
def test_a_request_has_one_credential_and_it_is_taken_letter_by_letter(
    play: Play, given: list[str], status: int
) -> None:
    async def scene(world: World) -> None:
        headers = [("Authorization", one) for one in given]
        answer = await world.client.get("/api/platform/cap?token=viewer@IACB&access_token=viewer@IACB", headers=headers)
        assert answer.status_code == status, answer.text

    play(scene)


def test_no_answer_is_kept_or_taken_for_something_else(play: Play) -> None:
    async def scene(world: World) -> None:
        for path, who, status in (
            ("/api/patch", "viewer@IACB", 200),
            ("/api/audit?format=csv", "auditor@IACB", 200),
            ("/api/patch", "nobody", 401),
            ("/api/audit", "viewer@IACB", 403),
            ("/api/nothing", "viewer@IACB", 404),
            ("/livez", "nobody", 200),
        ):
            answer = await world.call("GET", path, who)
            assert answer.status_code == status
            assert answer.headers["Cache-Control"] == "no-store", path
            assert answer.headers["X-Content-Type-Options"] == "nosniff", path
        schema = await world.client.get("/schemas/patch.json")
        assert schema.headers["Cache-Control"] == "max-age=3600"

    play(scene)


@pytest.mark.parametrize(("options", "source"), [({}, "127.0.0.1"), ({"trusted_proxies": "127.0.0.1"}, "203.0.113.9")])
def test_nobody_but_a_proxy_that_is_trusted_says_where_somebody_else_is(
    play: Play, options: dict[str, str], source: str
) -> None:
    async def scene(world: World) -> None:
        async with served(world, **options) as client:
            headers = {"Authorization": GOOD, "X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
            assert (await client.post("/api/patch", headers=headers)).status_code == 403
        assert world.sql("SELECT source FROM audit ORDER BY id DESC LIMIT 1") == [(source,)]

    play(scene)


def test_who_leaves_in_the_middle_of_a_body_is_no_failure_of_ours(play: Play) -> None:
    async def scene(world: World) -> None:
        app = create_app(world)  # type: ignore[arg-type]
        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/patch",
            "raw_path": b"/api/patch",
            "query_string": b"",
            "headers": [(b"authorization", b"Bearer release_manager@IACB")],
            "client": ("192.0.2.7", 1),
        }

        async def gone() -> dict[str, Any]:
            return {"type": "http.disconnect"}

        async def deaf(_: Any) -> None:
            pass

        with structlog.testing.capture_logs() as logs:
            try:
                await app(scope, gone, deaf)
            except ClientDisconnect:
                pytest.fail("this is no error")
        assert [one for one in logs if one["log_level"] == "error"] == []

    play(scene)
