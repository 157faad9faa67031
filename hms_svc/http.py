"""One HTTP GET over a socket of its own: for the probe and for MGT's snapshot.

http.client brings the email package and ssl with it, 9 MiB that would sit in every pod for two kinds of GET.
This reads status, headers and a bounded body (Content-Length, chunked or until close) under one total
deadline. No redirects, no proxies, no keep-alive: a fresh connection is what makes a probe meet the new
worker. Called from errands only.
"""

import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

from hms_svc import tcp
from hms_svc.address import HttpAddress
from hms_svc.scarcity import scarce

HEAD_BYTES = 32_768


class HttpError(Exception):
    """The other side did not answer in time, or not in HTTP; or it could not be asked (`scarce`)."""

    def __init__(self, text: str, *, scarce: bool = False) -> None:
        super().__init__(text)
        self.scarce = scarce


class Response(NamedTuple):
    """An answer; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def get(address: HttpAddress, path: str, headers: Mapping[str, str], timeout: float, limit: int) -> Response:
    """GET `path` from the host of `address`; a body longer than `limit` bytes is cut there. HttpError otherwise."""
    deadline = time.monotonic() + timeout
    try:
        stream = _connect(address, timeout)
    except OSError as error:
        words = f"cannot connect to {address.host}:{address.port}: {error.strerror or error}"
        raise HttpError(words, scarce=scarce(error)) from None
    try:
        stream.sendall(_request(address, path, headers))
        return _read(_Incoming(stream, deadline), limit)
    except (OSError, ValueError) as error:
        raise HttpError(f"{address.host}:{address.port}: {error}") from None
    finally:
        stream.close()


def _connect(address: HttpAddress, timeout: float) -> socket.socket:
    plain = tcp.connect(address.host, address.port, timeout)
    if address.tls is None:
        return plain
    from hms_svc import tls  # noqa: PLC0415 - only for those who use it

    try:
        return tls.wrap(plain, address.host, address.tls)
    except OSError as error:
        raise OSError(tls.words(error)) from None


def _request(address: HttpAddress, path: str, headers: Mapping[str, str]) -> bytes:
    host = f"[{address.host}]" if ":" in address.host else address.host
    lines = [
        f"GET {path or '/'} HTTP/1.1",
        f"Host: {host}:{address.port}",
        "User-Agent: hms-svc",
        "Connection: close",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Incoming:
    """Bytes of one answer, read under the deadline of the whole exchange."""

    def __init__(self, stream: socket.socket, deadline: float) -> None:
        self._stream = stream
        self._deadline = deadline
        self.data = b""

    def more(self) -> bool:
        """Read some; False at the end of the stream."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no complete answer in time")
        self._stream.settimeout(left)
        chunk = self._stream.recv(65_536)
        self.data += chunk
        return bool(chunk)

    def until(self, mark: bytes, limit: int) -> bytes:
        """Take everything up to `mark`, and drop the mark."""
        while mark not in self.data:
            if len(self.data) > limit or not self.more():
                raise ValueError("the answer is not HTTP")
        head, _, self.data = self.data.partition(mark)
        return head

    def exactly(self, size: int) -> bytes:
        """Take `size` bytes."""
        while len(self.data) < size:
            if not self.more():
                raise ValueError("the answer broke off")
        head, self.data = self.data[:size], self.data[size:]
        return head

    def rest(self, limit: int) -> bytes:
        """Take what comes until the end of the stream or `limit`."""
        while len(self.data) < limit and self.more():
            pass
        return self.data[:limit]


def _read(incoming: _Incoming, limit: int) -> Response:
    status, headers = _head(incoming)
    while status < 200:  # 100 Continue, 103 Early Hints: the answer is still to come
        status, headers = _head(incoming)
    return Response(status, headers, _body(incoming, headers, limit))


def _head(incoming: _Incoming) -> tuple[int, dict[str, str]]:
    first, *lines = incoming.until(b"\r\n\r\n", HEAD_BYTES).decode("latin-1").split("\r\n")
    protocol, _, rest = first.partition(" ")
    if not protocol.startswith("HTTP/1") or not rest[:3].isdecimal():
        raise ValueError("the answer is not HTTP")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(rest[:3]), headers


def _body(incoming: _Incoming, headers: Mapping[str, str], limit: int) -> bytes:
    if limit == 0:
        return b""
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _chunks(incoming, limit)
    length = headers.get("content-length", "")
    return incoming.exactly(min(int(length), limit)) if length.isdecimal() else incoming.rest(limit)


def _size(digits: bytes) -> int:
    """A chunk's size; ValueError on what Python would take as a number besides (a sign, `0x`, `_`)."""
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise ValueError("the answer is not HTTP")
    return int(digits, 16)


def _chunks(incoming: _Incoming, limit: int) -> bytes:
    body = b""
    while len(body) < limit:
        size = _size(incoming.until(b"\r\n", 64).partition(b";")[0].strip())
        if size == 0:
            break
        body += incoming.exactly(min(size, limit - len(body)))
        if len(body) < limit:
            incoming.until(b"\r\n", 0)
    return body
