"""A seeded mutator of HTTP requests, and what nobody honest sends: for the agent's own port."""

from random import Random

METHODS = (b"GET", b"HEAD", b"POST", b"get", b"G E T", b"", b"\0", b"PRI", b"GET" * 2000)
PATHS = (
    b"/livez",
    b"/readyz",
    b"/metrics",
    b"/status",
    b"/",
    b"//livez",
    b"/livez?x=1#y",
    b"http://a/livez",
    b"*",
    b"",
)
ODD_PATHS = (b"", b"/" + b"a" * 3000, b"/%00", b"/\xff\xfe", b"/../../etc/passwd", b"/metrics\0", b"/" + b"/" * 900)
PROTOCOLS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/", b"http/1.1", b"HTTP/1.1 x", b"", b"ICAP/1.0")
ENDS = (b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"")
HEADERS = (
    b"Host: a",
    b"Host: a\r\nHost: b",
    b"Content-Length: 5",
    b"Content-Length: -1",
    b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked",
    b"Expect: 100-continue",
    b"Connection: keep-alive",
    b"Upgrade: h2c",
    b"X: " + b"y" * 5000,
    b": ",
    b"no colon",
    b" folded",
    b"\0: \0",
    b"\xff: \xff",
)


def request(rng: Random) -> bytes:
    """One visitor's words: one request or several in a row, whole, broken or spoilt."""
    whole = b"".join(_one(rng) for _ in range(rng.choice((1, 1, 1, 2, 50))))
    return rng.choice((_as_it_is, _as_it_is, _cut, _flipped, _noise))(rng, whole)[:60_000]


def _one(rng: Random) -> bytes:
    end = rng.choice((b"\r\n", b"\r\n", rng.choice(ENDS)))
    path = rng.choice((rng.choice(PATHS), rng.choice(PATHS), rng.choice(ODD_PATHS)))
    first = b" ".join(
        (rng.choice((b"GET", rng.choice(METHODS))), path, rng.choice((b"HTTP/1.1", rng.choice(PROTOCOLS))))
    )
    headers = [rng.choice(HEADERS) for _ in range(rng.choice((0, 1, 2, 200)))]
    return end.join([first, *headers, b"", b""]) + rng.choice((b"", b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n"))


def _as_it_is(_: Random, whole: bytes) -> bytes:
    return whole


def _cut(rng: Random, whole: bytes) -> bytes:
    return whole[: rng.randrange(len(whole) + 1)]


def _flipped(rng: Random, whole: bytes) -> bytes:
    spoilt = bytearray(whole)
    for _ in range(rng.choice((1, 3, 20)) if spoilt else 0):
        spoilt[rng.randrange(len(spoilt))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def _noise(rng: Random, _: bytes) -> bytes:
    return rng.choice((b"", b"\r\n" * rng.randrange(3000), b"\x16\x03\x01" + rng.randbytes(300), rng.randbytes(6000)))
