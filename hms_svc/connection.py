"""One connection to one Redis server: a plain, TLS or unix socket that has authenticated.

Connecting (name look-up, TLS, AUTH) blocks and belongs in an errand; afterwards a command is answered within
`ANSWER_SECONDS` or the connection is given up, and pub/sub never blocks. redis-py would load asyncio and cost 20 MiB.
"""

import socket
import time
from typing import Any, NoReturn

from hms_svc import tcp
from hms_svc.address import RedisAddress
from hms_svc.resp import MORE, NotRedis, Reader, RedisError, RedisSaidNo, packed

CONNECT_SECONDS = 2.0
# A turn of the loop makes two calls at most, and both fit into the second that a window's end may be late.
ANSWER_SECONDS = 0.4
READ_BYTES = 65_536
PONG = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
# A flood of messages must not keep the loop from its timers.
READS_AT_ONCE = 16


def _closed() -> NoReturn:
    raise ConnectionError("the connection was closed")


class Connection:
    """One socket and its reader."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._reader = Reader()
        self._least = 1
        self._plain = type(sock) is socket.socket  # TLS makes more of an answer, and keeps some back

    def call(self, *words: str | bytes, timeout: float = ANSWER_SECONDS) -> Any:
        """Send a command and wait for its answer; RedisError on `-ERR`, silence or a broken socket."""
        until = time.monotonic() + timeout
        try:
            self._wait_at_most(max(timeout, 0.001))
            self.sock.sendall(packed(*words))
            reply = self._answer(until)
        except (OSError, NotRedis) as error:
            raise RedisError(f"no answer to {_shown(words)}: {_plain(error, tls=not self._plain)}") from None
        if isinstance(reply, RedisSaidNo):
            raise _refusal(reply, words)
        return reply

    def _answer(self, until: float) -> Any:
        while (reply := self._reader.gets()) is MORE:
            self._wait_at_most(_left(until))
            self._reader.feed(self.sock.recv(READ_BYTES) or _closed())
        return reply

    def post(self, *words: str) -> None:
        """Send a short command without waiting; its answer comes through `receive`."""
        try:
            self._wait_at_most(0.0)
            self.sock.sendall(packed(*words))
        except OSError as error:
            raise RedisError(f"the link broke: {_plain(error)}") from None

    def receive(self, most: int) -> tuple[list[Any], bool]:
        """Up to `most` answers that have arrived, and whether there may be more, at once; RedisError at the end."""
        replies: list[Any] = []
        reads, drained = 0, False
        try:
            self._wait_at_most(0.0)
            while len(replies) < most:
                if (reply := self._reader.gets()) is not MORE:
                    replies.append(reply)
                elif reads == READS_AT_ONCE:
                    break
                elif not drained and (data := self._available()):
                    if data == PONG and self._plain and not self._reader.pending:  # so often: without the parser
                        return [*replies, [b"pong", b""]], False
                    self._reader.feed(data)
                    reads += 1
                    drained = self._plain and len(data) < READ_BYTES
                else:
                    return replies, False
        except (OSError, NotRedis) as error:
            raise RedisError(f"the link broke: {_plain(error)}") from None
        return replies, True

    def doze(self) -> None:
        """Let whoever waits for the socket sleep through the answer to a PING, but not through half a message."""
        least = 1 if self._reader.pending else len(PONG) + 1
        if least != self._least and self._plain:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, least)
            self._least = least

    def _wait_at_most(self, seconds: float) -> None:
        """A system call, so only when it changes anything."""
        if self.sock.gettimeout() != seconds:
            self.sock.settimeout(seconds)

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


def connect(address: RedisAddress, seconds: float = CONNECT_SECONDS) -> Connection:
    """A connection to a single server that has authenticated, within `seconds` altogether; RedisError otherwise."""
    until = time.monotonic() + seconds
    try:
        connection = Connection(_socket(address, until))
    except OSError as error:
        raise RedisError(f"{address.shown}: {_plain(error)}") from None
    try:
        if address.password:
            words = (address.user, address.password) if address.user else (address.password,)
            connection.call("AUTH", *words, timeout=until - time.monotonic())
        if address.db:
            connection.call("SELECT", str(address.db), timeout=until - time.monotonic())
    except BaseException:
        connection.close()
        raise
    return connection


def _socket(address: RedisAddress, until: float) -> socket.socket:
    if address.path:
        local = socket.socket(socket.AF_UNIX)
        local.settimeout(_left(until))
        try:
            local.connect(address.path)
        except BaseException:
            local.close()
            raise
        return local
    (host, port), *_ = address.hosts
    plain = tcp.connect(host, port, _left(until))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if address.tls is None:
        return plain
    from hms_svc import tls  # noqa: PLC0415 - only for those who use it

    plain.settimeout(_left(until))
    return tls.wrap(plain, host, address.tls)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _shown(words: tuple[str | bytes, ...]) -> str:
    """A command for people: with its key or channel, and never with what follows. Of AUTH nothing but the name."""
    shown = [word for word in words[:2] if isinstance(word, str)]
    return shown[0] if shown[0] == "AUTH" else " ".join(shown)


def _refusal(no: RedisSaidNo, words: tuple[str | bytes, ...]) -> RedisSaidNo:
    """The server's "no" in plain words. What it says to AUTH is not repeated: some servers quote the password."""
    what = _shown(words)
    if words[0] == "AUTH":
        return RedisSaidNo(f"Redis refuses the user or the password of HMS_REDIS_URL ({no.code})", no.code)
    if no.code == "NOAUTH":
        return RedisSaidNo("Redis wants a user and a password, and HMS_REDIS_URL has none (NOAUTH)", no.code)
    if no.code == "NOPERM":
        rule = "its ACL rule must be the one that `hms-mgt redis-acl` prints"
        return RedisSaidNo(f"the user of HMS_REDIS_URL may not {what} (NOPERM): {rule}", no.code)
    return RedisSaidNo(f"{what}: {no}" if no.code == "ERR" else str(no), no.code)


def _plain(error: OSError | NotRedis, *, tls: bool = False) -> str:
    if type(error).__module__ in ("ssl", "hms_svc.tls") or (tls and isinstance(error, ConnectionError)):
        from hms_svc.tls import words  # noqa: PLC0415 - loaded already, if such an error happened

        return words(error) if isinstance(error, OSError) else str(error)
    return str(getattr(error, "strerror", None) or error)
