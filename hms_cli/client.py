"""HTTP to HMS-MGT: bearer token, bounded retries, errors as exceptions that carry their exit code.

A POST is sent again only after a failed connection, a 429, 502, 503 or 504, and always with the same
Idempotency-Key, so the server carries it out once however often it arrives. What would be carried out twice
is sent again only where it surely did not arrive. What the server answers is data: nothing here decides.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

import httpx

from hms_cli import answers, retry, version
from hms_cli.answers import LISTING, PATCH, Shape
from hms_cli.errors import ClientError, LostError, SilentError
from hms_cli.outcome import Code

PATIENCE = 10.0  # seconds for one answer
UNSENT = (httpx.ConnectError, httpx.ConnectTimeout)
BROKEN = (*UNSENT, httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError)
JSON = "application/json"

Query = Mapping[str, str | None]


class Body(NamedTuple):
    """What to send, and what kind of document it is."""

    content: bytes = b""
    media: str = JSON


class Read(NamedTuple):
    """A document and the name of the state it shows, for who wants to replace it."""

    document: dict[str, Any]
    etag: str


class Client:
    """The control plane at `url`."""

    def __init__(self, url: str, token: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
        """Connect to nothing yet. ClientError when `url` or `token` cannot be used."""
        self._url, self._sleep = url, sleep
        headers = {"user-agent": f"hms-cli/{version()}", "accept": JSON}
        if token:
            headers["authorization"] = f"Bearer {_header_safe(token)}"
        try:
            self._http = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)
            usable = self._http.base_url.scheme in {"http", "https"} and self._http.base_url.host
        except httpx.InvalidURL:
            usable = False
        if not usable:
            raise ClientError(Code.USAGE, f"{url!r} is not an http(s) URL; set --url or HMS_MGT_URL")

    def get(self, path: str, shape: Shape = PATCH, query: Query | None = None) -> dict[str, Any]:
        """One document, with the usual retries."""
        request = self._http.build_request("GET", path, params=_given(query))
        return self._document(self._retried(request), shape)

    def look(self, path: str, patience: float) -> dict[str, Any]:
        """One patch, asked for once and waited for at most `patience` seconds: for a caller that asks again."""
        timeout = httpx.Timeout(min(PATIENCE, max(patience, 0.05)))
        try:
            response = self._once(self._http.build_request("GET", path, timeout=timeout))
        except SilentError as silent:
            raise LostError(silent.code, *silent.lines) from silent
        return self._document(response, PATCH)

    def read(self, path: str, shape: Shape) -> Read:
        """One document that is to be replaced."""
        response = self._retried(self._http.build_request("GET", path))
        document, etag = self._document(response, shape), response.headers.get("etag")
        if not etag:
            raise answers.stranger(response, self._url)
        return Read(document, etag)

    def put(self, path: str, shape: Shape, body: Body, etag: str) -> dict[str, Any]:
        """Replace what `read` showed, unless it is another by now."""
        headers = {"if-match": etag, "content-type": body.media}
        request = self._http.build_request("PUT", path, content=body.content, headers=headers)
        return self._document(self._retried(request), shape)

    def post(
        self,
        path: str,
        body: Body | None = None,
        *,
        key: str | None = None,
        shape: Shape = PATCH,
        query: Query | None = None,
    ) -> dict[str, Any]:
        """Send a body as it is. A key is made up when none is given, so a retry is never a second request."""
        return self._document(self._retried(self._post(path, body or Body(), key, query)), shape)

    def post_once(self, path: str, body: Body, shape: Shape) -> dict[str, Any]:
        """Send what the server would carry out each time it arrives: never again when it may have arrived."""
        return self._document(self._retried(self._post(path, body, None, None), repeatable=False), shape)

    def pages(self, path: str, query: Query, most: int | None = None) -> list[dict[str, Any]]:
        """The items of all pages of a listing, or the first so many."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = self.get(path, LISTING, {**query, "cursor": cursor})
            items += page["items"]
            cursor = page.get("next_cursor")
            if not cursor or (most is not None and len(items) >= most):
                return items[:most]

    def export(self, path: str, query: Query, media: str) -> Iterator[bytes]:
        """A text of any length, piece by piece as it comes."""
        request = self._http.build_request("GET", path, params=_given(query), headers={"accept": f"{media}, {JSON}"})
        response = self._retried(request, stream=True)
        try:
            answers.check_media(response, self._url, media)
            yield from response.iter_bytes()
        except httpx.HTTPError as error:
            raise ClientError(Code.FAILED, f"the answer broke off ({_words(error)}): what came is not all") from error
        finally:
            response.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _post(self, path: str, body: Body, key: str | None, query: Query | None) -> httpx.Request:
        headers = {"idempotency-key": _header_safe(key or f"hms-cli-{uuid4().hex}")}
        if body.content:
            headers["content-type"] = body.media
        return self._http.build_request("POST", path, params=_given(query), content=body.content, headers=headers)

    def _retried(self, request: httpx.Request, *, repeatable: bool = True, stream: bool = False) -> httpx.Response:
        attempt = 0
        while True:
            try:
                return self._once(request, stream=stream)
            except LostError as lost:
                if lost.arrived and not repeatable:
                    raise retry.unknown(lost) from lost
                pause = retry.pause(attempt, lost)
                if pause is None:
                    raise
            self._sleep(pause)
            attempt += 1

    def _once(self, request: httpx.Request, *, stream: bool = False) -> httpx.Response:
        """An answer that is no passing trouble."""
        try:
            response = self._http.send(request, stream=stream)
            if not response.is_success:
                response.read()
        except BROKEN as error:
            raise LostError(Code.FAILED, self._unreachable(error), arrived=not isinstance(error, UNSENT)) from error
        except httpx.TimeoutException as error:
            raise SilentError(Code.FAILED, f"HMS-MGT at {self._url} took the request and does not answer") from error
        except httpx.HTTPError as error:
            raise ClientError(Code.FAILED, f"cannot talk to {self._url}: {_words(error)}") from error
        answers.raise_for_trouble(response)
        return response

    def _document(self, response: httpx.Response, shape: Shape) -> dict[str, Any]:
        return answers.read(response, self._url, shape)

    def _unreachable(self, error: httpx.HTTPError) -> str:
        return f"cannot reach HMS-MGT at {self._url} ({_words(error)}); is it running there? See --url, HMS_MGT_URL"


def step(name: str) -> str:
    """A name as one step of a path, whatever letters it has."""
    return quote(name, safe="")


def _given(query: Query | None) -> dict[str, str]:
    return {name: value for name, value in (query or {}).items() if value is not None}


def _header_safe(value: str) -> str:
    if value.isascii() and value.isprintable():
        return value
    raise ClientError(Code.USAGE, "a token or an idempotency key is printable ASCII on one line")


def _words(error: httpx.HTTPError) -> str:
    return str(error) or type(error).__name__
