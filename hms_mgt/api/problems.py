"""Turns errors into problem+json (RFC 9457). Our own say what is wrong; any other says nothing of its insides."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from hms_mgt import errors
from hms_mgt.domain.access import Actor
from hms_mgt.errors import HmsError, Problem, Unavailable, pointer
from hms_mgt.store import trail
from hms_mgt.store.database import EVERY_TENANT

_log = structlog.get_logger()
# A parameter in the template of a path.
_STEP = re.compile(r"\{[a-z_]+\}")

STATUS: Mapping[type[HmsError], int] = {
    errors.Invalid: 422,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.KeyReused: 422,
    errors.PreconditionFailed: 412,
    errors.RateLimited: 429,
    errors.Unavailable: 503,
}
# What the caller may not do, or not now: somebody will ask why it did not happen.
_DENIALS = (errors.Forbidden, errors.PatchConflict, errors.QuotaExceeded, errors.Frozen)
_TITLES = {
    401: "Who are you?",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Invalid input",
    429: "Too many requests",
    500: "Internal error",
    503: "Unavailable for now",
}


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(HmsError, _ours)
    app.add_exception_handler(RequestValidationError, _request)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _bug)


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Document problem answers of an operation for OpenAPI."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {code: {"description": _TITLES[code], "content": content} for code in codes}


async def _ours(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HmsError)  # noqa: S101 - registered for this class only
    if isinstance(error, errors.Unauthenticated):
        # To the log, not to the audit: nobody without a token may write there.
        _log.warning("a caller is not known", method=request.method, path=path_of(request), reason=error.detail)
    if _is_denial(request, error):
        error = await _recorded(request, error)
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    answer = _answer(request, status, error.code, error.detail, error.problems, error.facts)
    if isinstance(error, errors.RateLimited):
        answer.headers["Retry-After"] = str(error.facts["retry_after"])
    if isinstance(error, errors.PreconditionFailed):
        answer.headers["ETag"] = error.facts["etag"]
    return answer


async def _request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    found = [Problem(pointer(*one["loc"]), one["msg"]) for one in error.errors()]
    return _answer(request, 422, "invalid", found[0].detail, found)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    code = _TITLES.get(error.status_code, "error").lower().replace(" ", "_")
    answer = _answer(request, error.status_code, code, str(error.detail), ())
    answer.headers.update(error.headers or {})
    if error.status_code == 405 and (allowed := _allowed(request)):
        answer.headers["Allow"] = allowed
    return answer


def _allowed(request: Request) -> str:
    """Name every method that this path has; the router itself names those of one route."""
    paths: Mapping[str, Mapping[str, Any]] = request.app.openapi()["paths"]
    found = {
        method.upper()
        for template, methods in paths.items()
        if re.fullmatch(_STEP.sub("[^/]+", template), request.scope["path"])
        for method in methods
    }
    return ", ".join(sorted(found))


async def _gone(request: Request, _: Exception) -> JSONResponse:
    """Answer a caller who left in the middle of the body: for the log of whatever stands before us."""
    return _answer(request, 400, "incomplete", "the body ended before its end", ())


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", path=path_of(request), exc_info=error)
    return _answer(request, 500, "internal", "Something went wrong on our side; the request id finds it.", ())


class _ProblemResponse(JSONResponse):
    """Writes whatever words a problem holds, even those that quote what cannot be written."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        """Write UTF-8, with `?` for half a surrogate pair."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _answer(  # noqa: PLR0913, PLR0917 - the problem's own members
    request: Request,
    status: int,
    code: str,
    detail: str,
    found: Sequence[Problem],
    facts: Mapping[str, Any] = {},
) -> JSONResponse:
    body = {
        **facts,
        "type": f"urn:hms:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request.state.request_id,
        "errors": [problem._asdict() for problem in found],
    }
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else None
    return _ProblemResponse(body, status, headers)


def path_of(request: Request) -> str:
    """Return the path that was asked for, with nothing in it that a log or the audit could not hold."""
    return quote(request.scope["path"], errors="replace")


def _is_denial(request: Request, error: HmsError) -> bool:
    """Tell whether this was refused to the caller; reaching for what another tenant has is met with NotFound."""
    changes = request.method not in {"GET", "HEAD"}
    return isinstance(error, _DENIALS) or (changes and isinstance(error, errors.NotFound))


async def _recorded(request: Request, error: HmsError) -> HmsError:
    """Audit a denial and return it; where that cannot be, the caller is to come again and be denied on record."""
    try:
        await _record_denial(request, error)
    except (Unavailable, SQLAlchemyError) as failure:
        _log.exception("a denial was not recorded", exc_info=failure)
        return Unavailable("this cannot be answered now: the audit takes nothing")
    return error


async def _record_denial(request: Request, error: HmsError) -> None:
    """Write down who was denied what. The denied request itself changed nothing."""
    actor: Actor | None = getattr(request.state, "actor", None)
    if actor is None:
        return
    parts = request.app.state.parts
    subject = f"{request.method} {path_of(request)}"
    detail = {"code": error.code, "reason": error.detail}
    act = trail.act_of(actor, actor.tenant, "denied", subject, detail=detail)
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        await trail.audit_act(tx, act, parts.clock.now())
