"""Turns errors into problem+json (RFC 9457). Our own say what is wrong; any other says nothing of its insides."""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from hms_mgt import errors
from hms_mgt.domain.access import Actor
from hms_mgt.errors import HmsError, Problem, Unavailable, pointer
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
    if isinstance(error, errors.Unauthenticated):
        # To the log, not to the audit: nobody without a token may write there.
        _log.warning("a caller is not known", method=request.method, path=_path(request), reason=error.detail)
    if _is_denial(request, error):
        error = await _recorded(request, error)
    status = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    return _answer(request, status, error.code, error.detail, error.problems)


async def _request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class only
    found = [Problem(pointer(*one["loc"]), one["msg"]) for one in error.errors()]
    return _answer(request, 422, "invalid", found[0].detail, found)


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class only
    code = _TITLES.get(error.status_code, "error").lower().replace(" ", "_")
    answer = _answer(request, error.status_code, code, str(error.detail), ())
    answer.headers.update(error.headers or {})
    return answer


async def _bug(request: Request, error: Exception) -> JSONResponse:
    _log.error("request failed", path=_path(request), exc_info=error)
    return _answer(request, 500, "internal", "Something went wrong on our side; the request id finds it.", ())


class _ProblemResponse(JSONResponse):
    """Writes whatever words a problem holds, even those that quote what cannot be written."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        """Write UTF-8, with `?` for half a surrogate pair."""
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


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
    return _ProblemResponse(body, status, headers)


def _path(request: Request) -> str:
    """Return the path that was asked for, with nothing in it that a log or the audit could not hold."""
    return quote(request.scope["path"], errors="replace")


def _is_denial(request: Request, error: HmsError) -> bool:
    """Tell whether this was refused to the caller; reaching for what another tenant has is met with NotFound."""
    changes = request.method not in {"GET", "HEAD"}
    return isinstance(error, errors.Forbidden) or (changes and isinstance(error, errors.NotFound))


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
    subject = f"{request.method} {_path(request)}"
    act = trail.Act(actor.tenant, actor.name, "denied", subject, {"reason": error.detail}, request.state.request_id)
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        await trail.audit_act(tx, act, parts.clock.now())
