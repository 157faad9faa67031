"""Turns errors into problem+json (RFC 9457). Our own say what is wrong; any other says nothing of its insides."""

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hms_mgt import errors
from hms_mgt.domain.access import Actor
from hms_mgt.errors import HmsError, Problem
from hms_mgt.store import trail
from hms_mgt.store.database import EVERY_TENANT

_log = structlog.get_logger()

STATUS: Mapping[type[HmsError], int] = {
    errors.Invalid: 422,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.KeyReused: 422,
    errors.Unavailable: 503,
}
_TITLES = {
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid input",
    500: "Internal error",
    503: "Unavailable for now",
}


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(HmsError, _ours)
    app.add_exception_handler(RequestValidationError, _request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _bug)


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Document problem answers of an operation for OpenAPI."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"description": _TITLES[code], "content": content} for code in codes}


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HmsError)  # noqa: S101 - registered for this class only
    if isinstance(error, errors.Forbidden):
        await _record_denial(request, error)
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    return _answer(request, status, error.code, error.detail, error.problems)


async def _request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    found = [Problem("/" + "/".join(str(step) for step in one["loc"]), one["msg"]) for one in error.errors()]
    return _answer(request, 422, "invalid", found[0].detail, found)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    code = _TITLES.get(error.status_code, "error").lower().replace(" ", "_")
    answer = _answer(request, error.status_code, code, str(error.detail), ())
    answer.headers.update(error.headers or {})
    return answer


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", path=request.url.path, exc_info=error)
    return _answer(request, 500, "internal", "Something went wrong on our side; the request id finds it.", ())


def _answer(request: Request, status: int, code: str, detail: str, found: Sequence[Problem]) -> JSONResponse:
    body = {
        "type": f"urn:hms:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request.state.request_id,
        "errors": [problem._asdict() for problem in found],
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")


async def _record_denial(request: Request, error: HmsError) -> None:
    """Audit a denial: who, what, from where. The denied request itself changed nothing."""
    actor: Actor | None = getattr(request.state, "actor", None)
    if actor is None:
        return
    parts = request.app.state.parts
    subject = f"{request.method} {request.url.path}"
    act = trail.Act(actor.tenant, actor.name, "denied", subject, {"reason": error.detail}, request.state.request_id)
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        await trail.audit_act(tx, act, parts.clock.now())
