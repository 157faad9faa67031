"""A Redis connection: just enough of the protocol over a plain, TLS or unix socket.

hiredis' parser does the reading; redis-py would load asyncio and cost 20 MiB. Connecting (name look-up, TLS,
AUTH) blocks and belongs in an errand; afterwards the command connection answers within `ANSWER_SECONDS` or is
given up, and the pub/sub connection never blocks.
"""

import socket
import time
from typing import Any, NoReturn

import hiredis

from hms_svc.address import RedisAddress
from hms_svc.http import wrap_tls

CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 0.5
READ_BYTES = 65_536
# A peer that streams one endless answer is cut here; honest messages are at most 256 KiB.
PENDING_BYTES = 8 * 1024 * 1024
# A flood of messages must not keep the loop from its timers.
READS_AT_ONCE = 16


class RedisError(Exception):
    """Redis said no, or stopped talking; the text carries no credentials."""


def _packed(words: tuple[str | bytes, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type] # the stub says a tuple of one
    return packed


def _closed() -> NoReturn:
    raise ConnectionError("the connection was closed")


class RedisSaidNo(RedisError):
    """Redis answered with an error: the connection is fine."""


class Connection:
    """One socket and its parser."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = hiredis.Reader()
        self.reader.setmaxbuf(READ_BYTES)

    def call(self, *words: str | bytes, timeout: float = ANSWER_SECONDS) -> object:
        """Send a command and wait for its answer; RedisError on `-ERR`, silence or a broken socket."""
        deadline = time.monotonic() + timeout
        try:
            self.sock.settimeout(timeout)
            self.sock.sendall(_packed(words))
            return self._answer(deadline)
        except (OSError, hiredis.ProtocolError) as error:
            raise RedisError(f"Redis did not answer {words[0]!r}: {error}") from None

    def _answer(self, deadline: float) -> Any:
        while (reply := self.reader.gets()) is False:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("out of time")
            self.sock.settimeout(left)
            self._feed(self.sock.recv(READ_BYTES))
        if isinstance(reply, hiredis.ReplyError):
            raise RedisSaidNo(str(reply))
        return reply

    def _feed(self, data: bytes) -> None:
        self.reader.feed(data or _closed())
        if self.reader.len() > PENDING_BYTES:
            raise ConnectionError("an answer without end")

    def post(self, *words: str) -> None:
        """Send a short command without waiting; its answer comes through `receive`."""
        try:
            self.sock.settimeout(ANSWER_SECONDS)
            self.sock.sendall(_packed(words))
        except OSError as error:
            raise RedisError(f"the link broke: {error}") from None

    def receive(self) -> list[Any]:
        """Everything that has arrived, without waiting; RedisError when the connection is over."""
        replies: list[Any] = []
        try:
            self.sock.setblocking(False)
            for _ in range(READS_AT_ONCE):
                if not (data := self._available()):
                    break
                self._feed(data)
                while (reply := self.reader.gets()) is not False:
                    replies.append(reply)
        except (OSError, hiredis.ProtocolError) as error:
            raise RedisError(f"the link broke: {error}") from None
        return replies

    def _available(self) -> bytes:
        try:
            data = self.sock.recv(READ_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            # TLS says "want read" with an error class of its own; importing ssl for its name would cost 5 MiB.
            if type(error).__name__ == "SSLWantReadError":
                return b""
            raise
        return data or _closed()

    def close(self) -> None:
        """Close the socket."""
        self.sock.close()


def connect(address: RedisAddress) -> Connection:
    """A connection that has authenticated and selected its database; OSError or RedisError."""
    connection = Connection(_socket(address))
    try:
        if address.password:
            words = (address.user, address.password) if address.user else (address.password,)
            connection.call("AUTH", *words, timeout=CONNECT_SECONDS)
        if address.db:
            connection.call("SELECT", str(address.db), timeout=CONNECT_SECONDS)
    except BaseException:
        connection.close()
        raise
    return connection


def _socket(address: RedisAddress) -> socket.socket:
    if address.path:
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(CONNECT_SECONDS)
        try:
            local.connect(address.path)
        except BaseException:
            local.close()
            raise
        return local
    plain = socket.create_connection((address.host, address.port), CONNECT_SECONDS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wrap_tls(plain, address.host) if address.tls else plain
