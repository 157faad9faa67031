"""A seeded mutator of sidecars' reports: something wrong in one, or no report at all."""

import json
from random import Random
from typing import Any

VALUES: tuple[Any, ...] = (
    "deep",
    "deep",
    None,
    True,
    -1,
    0,
    2**63,
    10**400,
    1.5,
    "",
    "\0",
    "\ud800",
    "x" * 3000,
    "\u202e",
    "a\nb",
    [],
    {},
    [[]] * 1001,
    [None],
    {"": 1},
    {"\0": 1},
    "VA",
    "BILLING",
    "*",
    "2026-11-23T12:00:00",
    "9999-12-31T23:59:59.999999-23:59",
)


def mutated(rng: Random, good: dict[str, Any]) -> bytes:
    """A report with something wrong in it, or no report at all. It never speaks for the instance that is looked at."""
    document = json.loads(json.dumps(good)) | {"instance": f"odd-{rng.randrange(50)}"}
    for _ in range(rng.choice((1, 1, 2, 5))):
        place: Any = document
        if rng.random() < 0.3:
            place = document[rng.choice(("receipts", "failed"))]
            place = place[0] if isinstance(place, list) and place and isinstance(place[0], dict) else document
        name = rng.choice([*place, "extra"])
        if rng.random() < 0.2:
            place.pop(name, None)
        else:
            place[name] = rng.choice(VALUES)
        document.setdefault("receipts", [])
        document.setdefault("failed", [])
    depth = rng.choice((10, 500, 990, 5000))
    text = json.dumps(document).encode().replace(b'"deep"', b"[" * depth + b"1" + b"]" * depth)
    return rng.choice((as_it_is, as_it_is, as_it_is, flipped, halved, twice, huge, in_another_spelling))(rng, text)


def as_it_is(_: Random, text: bytes) -> bytes:
    return text


def flipped(rng: Random, text: bytes) -> bytes:
    at = rng.randrange(len(text))
    return (text[:at] + bytes([text[at] ^ 1 << rng.randrange(8)]) + text[at + 1 :]).replace(b'"a"', b'"odd"')


def halved(rng: Random, text: bytes) -> bytes:
    return text[: rng.randrange(len(text))]


def twice(_: Random, text: bytes) -> bytes:
    return text[:-1] + b', "service": "BILLING", "revision": 1e3}'


def huge(rng: Random, text: bytes) -> bytes:
    return rng.choice((text + b" " * 70_000, b"[" * 60_000, text[:-1] + b', "n": ' + b"9" * 5000 + b"}"))


def in_another_spelling(rng: Random, text: bytes) -> bytes:
    return text.decode().encode(rng.choice(("utf-16", "utf-32", "utf-8-sig")))
