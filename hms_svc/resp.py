"""The Redis protocol, version 2: commands to bytes, and bytes to answers, with limits.

Its own reader, because what a hostile broker may announce (an array of 100 million elements, for which a general parser
makes room at once) has to be refused by the announcement. The limits are far above all that an agent is ever told.
"""

from typing import Any

MAX_LINE = 8192
MAX_BULK = 1024 * 1024
MAX_ELEMENTS = 512
MAX_DEPTH = 5
MAX_PENDING = MAX_BULK + 128 * 1024

MORE = object()
"""What `gets` gives while an answer is not complete."""

_KNOWN_CODES = ("MOVED", "ASK", "NOAUTH", "WRONGPASS", "NOPERM", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN")


class RedisError(Exception):
    """Redis said no, or stopped talking; the text carries no credentials."""


class RedisSaidNo(RedisError):
    """Redis answered with an error: the connection is fine. `code` is its first word, if it is a known one."""

    def __init__(self, text: str, code: str = "ERR") -> None:
        super().__init__(text)
        self.code = code


class NotRedis(Exception):
    """The bytes are no answer of Redis, or one beyond every limit."""


class _Incomplete(Exception):
    pass


def packed(*words: str | bytes) -> bytes:
    """A command as it is sent."""
    raw = [word.encode() if isinstance(word, str) else word for word in words]
    return b"*%d\r\n" % len(raw) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in raw)


class Reader:
    """Takes bytes as they come, gives answers when they are whole: bytes, int, None, lists, and RedisSaidNo."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0
        self._elements = 0

    def feed(self, data: bytes) -> None:
        """Take in what arrived."""
        self._data += data

    @property
    def pending(self) -> bool:
        """Whether part of an answer is here, and the rest is still to come."""
        return bool(self._data)

    def gets(self) -> Any:
        """The next answer, or MORE.

        Raises:
            NotRedis: there will never be one.
        """
        self._at, self._elements = 0, 0
        try:
            value = self._value(MAX_DEPTH)
        except _Incomplete:
            if len(self._data) > MAX_PENDING:
                raise NotRedis("an answer without end") from None
            return MORE
        del self._data[: self._at]
        return value

    def _value(self, depth: int) -> Any:
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"$":
            return self._bulk(_count(rest, MAX_BULK, "bytes"))
        if kind == b"*":
            return self._array(_count(rest, MAX_ELEMENTS, "elements"), depth)
        if kind == b"+":
            return rest
        if kind == b"-":
            return _said_no(rest.decode("utf-8", "replace"))
        if kind == b":":
            return _number(rest)
        raise NotRedis(f"the other side does not speak the Redis protocol: {line[:20]!r}")

    def _line(self) -> bytes:
        end = self._data.find(b"\r\n", self._at, self._at + MAX_LINE)
        if end < 0:
            if len(self._data) - self._at > MAX_LINE:
                raise NotRedis("a line without end")
            raise _Incomplete
        line = bytes(self._data[self._at : end])
        self._at = end + 2
        return line

    def _bulk(self, size: int | None) -> bytes | None:
        if size is None:
            return None
        start, end = self._at, self._at + size
        if len(self._data) < end + 2:
            raise _Incomplete
        if self._data[end : end + 2] != b"\r\n":
            raise NotRedis("an answer of another length than announced")
        self._at = end + 2
        return bytes(self._data[start:end])

    def _array(self, size: int | None, depth: int) -> list[Any] | None:
        if size is None:
            return None
        self._elements += size
        if depth == 0 or self._elements > MAX_ELEMENTS:
            raise NotRedis("an answer nested too deeply or of too many elements")
        return [self._value(depth - 1) for _ in range(size)]


def _said_no(text: str) -> RedisSaidNo:
    first = text.partition(" ")[0]
    return RedisSaidNo(text, first if first in _KNOWN_CODES else "ERR")


def _number(text: bytes) -> int:
    if not (text.removeprefix(b"-").isdigit() and len(text) <= 20):
        raise NotRedis(f"not a number: {text[:20]!r}")
    return int(text)


def _count(text: bytes, most: int, what: str) -> int | None:
    """How much is announced; None for Redis' null."""
    number = _number(text)
    if number > most:
        raise NotRedis(f"an answer of {number} {what}")
    return number if number >= 0 else None
