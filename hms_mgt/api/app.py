"""Puts the API together."""

import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hms_mgt.api import health, instances, patches, problems, streams, views
from hms_mgt.parts import Parts

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def create_app(parts: Parts) -> FastAPI:
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
    app.add_middleware(RequestIds)
    problems.install(app)
    for noun in (patches, streams, instances, health):
        app.include_router(noun.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


class RequestIds:
    """Gives each request an id, the caller's own when it is a sane one, and says it in answer and log."""

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

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


def _openapi(app: FastAPI) -> dict[str, object]:
    """Describe the API, with the problem document that every operation may answer with."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        shapes = document.setdefault("components", {}).setdefault("schemas", {})
        problem = views.Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        shapes |= problem.pop("$defs") | {"Problem": problem}
        for unused in ("HTTPValidationError", "ValidationError"):
            shapes.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
