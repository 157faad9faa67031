"""The Redis protocol's reader: agrees with hiredis on what Redis says, and refuses what nobody honest says."""

import time

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_svc.resp import MAX_BULK, MAX_DEPTH, MAX_ELEMENTS, MAX_LINE, MORE, NotRedis, Reader, RedisSaidNo, packed

_plain = st.text("abcXYZ 019-_:", max_size=30)
_leaves = st.one_of(
    st.none().map(lambda _: b"$-1\r\n"),
    st.binary(max_size=200).map(lambda data: b"$%d\r\n%b\r\n" % (len(data), data)),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b":%d\r\n" % number),
    _plain.map(lambda text: b"+%b\r\n" % text.encode()),
    _plain.map(lambda text: b"-ERR %b\r\n" % text.encode()),
)
_replies = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=6).map(lambda parts: b"*%d\r\n" % len(parts) + b"".join(parts)),
    max_leaves=20,
)


def _same(value: object) -> object:
    """Errors of both readers as the same thing."""
    if isinstance(value, hiredis.ReplyError | RedisSaidNo):
        return "error", str(value)
    return [_same(item) for item in value] if isinstance(value, list) else value


@given(st.lists(_replies, min_size=1, max_size=4), st.data())
def test_it_reads_what_hiredis_reads_however_it_is_cut(replies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(replies)
    ours, theirs = Reader(), hiredis.Reader()
    theirs.feed(stream)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        ours.feed(stream[start:end])
        while (reply := ours.gets()) is not MORE:
            found.append(_same(reply))
    assert found == [_same(theirs.gets()) for _ in replies]
    assert theirs.gets() is False


def test_a_reply_byte_by_byte() -> None:
    reader = Reader()
    stream = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$4\r\n\r\n\r\n\r\n"
    for at in range(len(stream) - 1):
        reader.feed(stream[at : at + 1])
        assert reader.gets() is MORE
    reader.feed(stream[-1:])
    assert reader.gets() == [b"message", b"c", b"\r\n\r\n"]


@pytest.mark.parametrize(
    "stream",
    [
        b"$%d\r\n" % (MAX_BULK + 1),
        b"$536870912\r\n",
        b"*%d\r\n" % (MAX_ELEMENTS + 1),
        b"*4000000000\r\n",
        b"*1\r\n" * (MAX_DEPTH + 2),
        (b"*%d\r\n" % (MAX_ELEMENTS // 2)) * 2 + b"*1\r\n:1\r\n",
        b"+" + b"a" * (MAX_LINE + 1),
        b"$" + b"1" * (MAX_LINE + 1),
        b"HTTP/1.1 400 Bad Request\r\n",
        b"$1_000\r\n",
        b"$\r\n",
        b":1.5\r\n",
        b":" + b"9" * 30 + b"\r\n",
        b"$1\r\nab\r\n",
        b"\r\n",
        b"\x16\x03\x01\x02\x00\r\n",
    ],
)
def test_what_nobody_honest_says_is_refused_at_once(stream: bytes) -> None:
    reader = Reader()
    reader.feed(stream)
    with pytest.raises(NotRedis):
        reader.gets()


def test_what_never_ends_is_refused() -> None:
    """Many elements, each small enough, none the last."""
    reader = Reader()
    reader.feed(b"*3\r\n" + (b"$600000\r\n" + b"a" * 600_000 + b"\r\n") * 2)
    with pytest.raises(NotRedis, match="without end"):
        reader.gets()


def test_the_worst_reply_that_is_taken_costs_little_each_time_it_is_looked_at() -> None:
    reader = Reader()
    reader.feed(b"*%d\r\n" % MAX_ELEMENTS + b":1\r\n" * (MAX_ELEMENTS - 1))
    since = time.process_time()
    for _ in range(100):
        assert reader.gets() is MORE
    assert (time.process_time() - since) / 100 < 0.02


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=5))
def test_commands_are_packed_as_hiredis_packs_them(words: list[bytes]) -> None:
    assert packed(*words) == hiredis.pack_command(tuple(words))  # type: ignore[arg-type] # the stub says one word


def test_what_redis_says_no_with() -> None:
    reader = Reader()
    reader.feed(b"-NOPERM no\r\n-EVIL1 x\r\n")
    assert [reader.gets().code, reader.gets().code] == ["NOPERM", "ERR"]
