"""What comes back over HTTP: a document of the shape that was asked for, or the error it stands for.

Anything may answer at a wrong URL, a login page with status 200 too. So each request says which members the
document it wants has, and what lacks one of them is not from HMS-MGT.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from hms_cli.errors import BusyError, ClientError, LostError
from hms_cli.outcome import Code, http_code
from hms_cli.problem import problem_lines

Shape = frozenset[str]  # the members by which a document is known
PATCH: Shape = frozenset({"patch_id", "status"})
LISTING: Shape = frozenset({"items"})
TRY_AGAIN = frozenset({429, 502, 503, 504})


def read(response: httpx.Response, url: str, shape: Shape) -> dict[str, Any]:
    """The document. ClientError for a refusal, and for what somebody else answered."""
    _check_success(response, url)
    body = _json(response)
    if body is None or not _fits(body, shape):
        raise stranger(response, url)
    return body


def check_media(response: httpx.Response, url: str, media: str) -> None:
    """ClientError unless a text of this kind is coming."""
    _check_success(response, url)
    if response.headers.get("content-type", "").partition(";")[0] != media:
        raise stranger(response, url)


def raise_for_trouble(response: httpx.Response) -> None:
    """LostError for an answer that may be another one at the next try."""
    status = response.status_code
    if status not in TRY_AGAIN:
        return
    kind = BusyError if status == httpx.codes.TOO_MANY_REQUESTS else LostError
    lines = problem_lines(_json(response) or {}, status)
    raise kind(http_code(status), *lines, after=_retry_after(response), arrived=kind is not BusyError)


def stranger(response: httpx.Response, url: str) -> ClientError:
    """The error that somebody else answers there."""
    words = f"{url} does not answer as HMS-MGT does (HTTP {response.status_code}); see --url, HMS_MGT_URL"
    return ClientError(Code.FAILED, words)


def _check_success(response: httpx.Response, url: str) -> None:
    status = response.status_code
    if response.is_redirect:
        raise stranger(response, url)
    if not response.is_success:
        raise ClientError(http_code(status), *problem_lines(_json(response) or {}, status))


def _fits(body: Mapping[str, Any], shape: Shape) -> bool:
    return body.keys() >= shape and ("items" not in shape or isinstance(body["items"], list))


def _json(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after(response: httpx.Response) -> float:
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0
