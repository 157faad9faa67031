"""HTTP to HMS-MGT: bearer token, bounded retries, errors as exceptions that carry their exit code.

A POST is sent again only after a failed connection or a 502, 503 or 504, and always with the same
Idempotency-Key, so the server carries it out once however often it arrives. What the server answers is
data: nothing here decides.
"""

import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import httpx

from hms_cli import version
from hms_cli.outcome import Code, http_code

ATTEMPTS = 4
FIRST_PAUSE = 0.2  # seconds; doubles, with full jitter
LONGEST_PAUSE = 2.0  # seconds, also when the server asks for more
PATIENCE = 10.0  # seconds for one answer
TRY_AGAIN = frozenset({502, 503, 504})
BROKEN = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)


class ClientError(Exception):
    """Something the user is told in `lines`; `code` is the exit code."""

    def __init__(self, code: Code, *lines: str) -> None:
        super().__init__(*lines)
        self.code = code
        self.lines = lines


class LostError(ClientError):
    """No usable answer this time; another try may get one."""


class Client:
    """The control plane at `url`."""

    def __init__(self, url: str, token: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
        """Connect to nothing yet. ClientError when `url` or `token` cannot be used."""
        self._url, self._sleep = url, sleep
        headers = {"user-agent": f"hms-cli/{version()}", "accept": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {_header_safe(token)}"
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)
            usable = self._http.base_url.scheme in {"http", "https"} and self._http.base_url.host
        except httpx.InvalidURL:
            usable = False
        if not usable:
            raise ClientError(Code.USAGE, f"{url!r} is not an http(s) URL; set --url or HMS_MGT_URL")

    def get(self, path: str, query: Mapping[str, str | None] | None = None) -> dict[str, Any]:
        """One document, with the usual retries."""
        return self._retried(self._http.build_request("GET", path, params=_given(query)))

    def look(self, path: str, patience: float) -> dict[str, Any]:
        """One document, asked once and waited for at most `patience` seconds: for a caller that asks again."""
        timeout = httpx.Timeout(min(PATIENCE, max(patience, 0.05)))
        try:
            return self._once(self._http.build_request("GET", path, timeout=timeout))
        except SilentError as silent:
            raise LostError(silent.code, *silent.lines) from silent

    def post(
        self, path: str, content: bytes = b"", media: str = "application/json", key: str | None = None
    ) -> dict[str, Any]:
        """Send `content` as it is. A key is made up when none is given, so a retry is never a second request."""
        headers = {"idempotency-key": _header_safe(key or f"hms-cli-{uuid4().hex}")}
        if content:
            headers["content-type"] = media
        return self._retried(self._http.build_request("POST", path, content=content, headers=headers))

    def pages(self, path: str, query: Mapping[str, str | None]) -> list[dict[str, Any]]:
        """The items of all pages of a listing."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, {**query, "cursor": cursor})
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor:
                return items

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _retried(self, request: httpx.Request) -> dict[str, Any]:
        for attempt in range(ATTEMPTS - 1):
            try:
                return self._once(request)
            except LostError as lost:
                self._sleep(_pause(attempt, lost))
        return self._once(request)

    def _once(self, request: httpx.Request) -> dict[str, Any]:
        try:
            response = self._http.send(request)
        except BROKEN as error:
            raise LostError(Code.FAILED, self._unreachable(error)) from error
        except httpx.TimeoutException as error:
            raise SilentError(Code.FAILED, f"HMS-MGT at {self._url} took the request and does not answer") from error
        except httpx.HTTPError as error:
            raise ClientError(Code.FAILED, f"cannot talk to {self._url}: {_words(error)}") from error
        return _document(response, self._url)

    def _unreachable(self, error: httpx.HTTPError) -> str:
        return f"cannot reach HMS-MGT at {self._url} ({_words(error)}); is it running there? See --url, HMS_MGT_URL"


class SilentError(ClientError):
    """The request went out and no answer came. Whether it was carried out is not known, so it is not repeated."""


class UnavailableError(LostError):
    """The server says: not now. `after` is how long it wants us to wait, in seconds."""

    def __init__(self, after: float, *lines: str) -> None:
        super().__init__(Code.FAILED, *lines)
        self.after = after


def problem_lines(problem: Mapping[str, Any], status: int) -> list[str]:
    """`field /changes/rate_limit_rps: Exceeds platform cap`, a line for each mistake, else the one detail."""
    errors = [one for one in problem.get("errors") or () if isinstance(one, Mapping)]
    lines = [f"field {one.get('pointer') or '/'}: {one.get('detail')}" for one in errors]
    lines = lines or [str(problem.get("detail") or problem.get("title") or f"HTTP {status}")]
    if status == httpx.codes.UNAUTHORIZED:
        lines.append("set --token or HMS_TOKEN to a token of HMS-MGT (hms_...)")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR and problem.get("request_id"):
        lines.append(f"request {problem['request_id']}")
    return lines


def _document(response: httpx.Response, url: str) -> dict[str, Any]:
    body = _json(response)
    if response.is_success and body is not None and _ours(body):
        return body
    status = response.status_code
    if response.is_success or response.is_redirect:
        raise ClientError(Code.FAILED, f"{url} does not answer as HMS-MGT does (HTTP {status}); see --url, HMS_MGT_URL")
    lines = problem_lines(body or {}, status)
    if status in TRY_AGAIN:
        raise UnavailableError(_retry_after(response), *lines)
    raise ClientError(http_code(status), *lines)


def _ours(body: Mapping[str, Any]) -> bool:
    """Whether it is a patch or a listing; everything we ask for is one of them."""
    return body.keys() >= {"patch_id", "status"} or isinstance(body.get("items"), list)


def _json(response: httpx.Response) -> dict[str, Any] | None:
    try:
        body = response.json()
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _retry_after(response: httpx.Response) -> float:
    asked = response.headers.get("retry-after", "")
    return float(asked) if asked.isdecimal() else 0.0


def _pause(attempt: int, lost: LostError) -> float:
    jittered = random.uniform(0, FIRST_PAUSE * 2**attempt)  # noqa: S311 spreads load, guards nothing
    asked = lost.after if isinstance(lost, UnavailableError) else 0.0
    return min(LONGEST_PAUSE, max(jittered, asked))


def _given(query: Mapping[str, str | None] | None) -> dict[str, str]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _header_safe(value: str) -> str:
    if value.isascii() and value.isprintable():
        return value
    raise ClientError(Code.USAGE, "a token or an idempotency key is printable ASCII on one line")


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
