"""Puts the API together."""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hms_mgt.api import (
    approvals,
    audit,
    effective,
    events,
    freezes,
    health,
    instances,
    openapi,
    patches,
    platform,
    problems,
    schemas,
    streams,
    tenants,
    tokens,
)
from hms_mgt.api.sse import Pace
from hms_mgt.api.wakeups import Wakeups
from hms_mgt.parts import Parts

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def create_app(parts: Parts, pace: Pace = Pace()) -> FastAPI:  # noqa: B008 - a tuple does not change
    """Build the application around its parts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await parts.close()

    app = FastAPI(
        title="HMS-MGT",
        version=version("hms"),
        lifespan=lifespan,
        docs_url="/docs",
        redoc_url=None,
        # A path that nothing stands at is a problem like any other, not a way to wherever `Host` says.
        redirect_slashes=False,
    )
    app.state.parts = parts
    app.state.pace = pace
    app.state.wakeups = Wakeups(parts)
    app.add_middleware(RequestIds)
    problems.install(app)
    for noun in (
        patches,
        approvals,
        freezes,
        streams,
        effective,
        instances,
        tenants,
        platform,
        tokens,
        events,
        audit,
        schemas,
        health,
    ):
        app.include_router(noun.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class RequestIds:
    """Gives each request an id, the caller's own when it is a sane one, and says it in log and answer.

    It also says of each answer who may keep it: nobody.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its id in `request.state`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                headers["X-Content-Type-Options"] = "nosniff"
                # What one may see is nobody else's to be shown, unless the answer itself says otherwise.
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_marked)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = openapi.describe(app)
    return app.openapi_schema
