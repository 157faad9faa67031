"""Errors as application/problem+json (RFC 9457), with one JSON pointer per mistake.

Everything a client meets goes through here, including what the framework raises itself, so no error has a
second shape. Values from the request are never repeated: they may be secrets.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class TooLargeError(Exception):
    """The body is longer than a decision on it could travel."""


def install(app: FastAPI) -> None:
    """Answer every error of `app` as a problem."""
    app.add_exception_handler(ValidationError, _invalid)
    app.add_exception_handler(TooLargeError, _too_large)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def problem(status: int, code: str, detail: str, errors: Sequence[dict[str, str]] = ()) -> JSONResponse:
    """One problem document; `code` is stable, `detail` is for people."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": uuid4().hex,
        "errors": list(errors),
    }
    return JSONResponse(body, status, media_type=MEDIA_TYPE)


def pointer(path: Sequence[int | str]) -> str:
    """A JSON pointer (RFC 6901) of a key path; "" is the whole document."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ValidationError):
        raise error
    found = error.errors(include_url=False, include_context=False, include_input=False)
    errors = [{"pointer": pointer(one["loc"]), "detail": one["msg"].removeprefix("Value error, ")} for one in found]
    return problem(422, "invalid", "The question cannot be decided as it stands.", errors)


async def _too_large(_request: Request, error: Exception) -> JSONResponse:
    return problem(413, "too_large", str(error))


async def _http(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    answer = problem(error.status_code, HTTPStatus(error.status_code).name.lower(), error.detail)
    answer.headers.update(error.headers or {})
    return answer


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    return problem(500, "internal", "Something went wrong here; the log of the service says what.")
