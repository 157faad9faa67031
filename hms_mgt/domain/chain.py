"""The audit as a chain: the one spelling of a row, and how each row's hash takes in the row before it.

A row's hash covers every column but the surrogate id. So whoever changes, takes out, puts in or moves a row has to
write every hash behind it anew, and then the end differs from the one that MGT signed. Beside the hash each row
keeps a short checksum of each column; it proves nothing, but tells an honest reader which column was changed.
"""

import hashlib
import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, SupportsBytes
from zlib import crc32

from hms_mgt.errors import sayable
from hms_svc import wire

# The chain of what concerns no single tenant. No tenant can have this id.
PLATFORM = "*"
# What a chain's first row follows when nothing was written before there were chains.
START = "0" * 64
# What a row follows that had to be written behind an end that was tampered with: it fits nothing, for ever.
TORN = ""
HEAD_TYPE = "application/vnd.hms.audit-head+json"

# What the hash covers, in its order.
COLUMNS = (
    "chain",
    "seq",
    "tenant",
    "at",
    "actor",
    "role",
    "source",
    "action",
    "subject",
    "before",
    "after",
    "detail",
    "decision_id",
    "request_id",
)
JSON_COLUMNS = ("before", "after", "detail")
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode

Row = Mapping[str, Any]


class End(NamedTuple):
    """The last row of a chain: its number and its hash."""

    seq: int
    hash: str


class Head(NamedTuple):
    """Where a chain ends, and since when: what MGT signs."""

    chain: str
    end: End
    at: str


def chain_of(tenant: str | None) -> str:
    """Return the chain that what concerns a tenant belongs to."""
    return PLATFORM if tenant is None else tenant


def stamp(at: datetime) -> str:
    """Write an instant as the audit does, to the microsecond."""
    return at.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def read_stamp(value: object) -> str | None:
    """Return a stamp as it is, and None for anything else."""
    return value if isinstance(value, str) and "T" in value and stamp_of(value) == value else None


def stamp_of(text: str | None) -> str | None:
    """Return an instant in the database's letters as a stamp; where it is none that we know, its letters."""
    try:
        return None if text is None else stamp(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return text


def plain(text: str | None) -> str | None:
    """Return text as the database can hold it: halves of surrogate pairs and NUL by their number."""
    return None if text is None else sayable(text).replace("\0", "\\x00")


def plain_value(value: Any) -> Any:
    """Return a value as JSON gives it back. What JSON has no word for becomes text."""
    return json.loads(json.dumps(value, default=_known), parse_constant=str)


def spelled(value: Any) -> str:
    """Write what JSON gave in its one spelling."""
    return _encode(value)


def _known(value: object) -> object:
    if isinstance(value, Mapping):
        return dict(value)
    return stamp(value) if isinstance(value, datetime) else str(value)


def checksums(texts: Iterable[str]) -> str:
    """Return a few digits for each column's text."""
    return "".join(f"{crc32(text.encode()) & 0xFFFF:04x}" for text in texts)


def texts(row: Row) -> list[str]:
    """Return the columns of a row in their one spelling: `at` a stamp, the JSON columns as values, not as text."""
    return [_encode(row.get(name)) for name in COLUMNS]


def body(texts: Iterable[str]) -> str:
    """Return the digest of what a row holds."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


def link(previous: str, body: str) -> str:
    """Return the hash of a row with this body behind a row with that hash."""
    return hashlib.sha256(f"{previous}\n{body}".encode()).hexdigest()


def sealed(end: End, rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Return rows with their place behind the end of their chain, their hashes and their checksums."""
    placed = []
    for row in rows:
        own = {**row, "chain": chain_of(row["tenant"]), "seq": end.seq + 1}
        spelling = texts(own)
        end = End(end.seq + 1, link(end.hash, body(spelling)))
        placed.append({**own, "hash": end.hash, "checksums": checksums(spelling)})
    return placed


def genesis(bodies: Iterable[str]) -> str:
    """Return what a chain's first row follows: all that was written before there were chains, in its order."""
    previous = START
    for one in bodies:
        previous = link(previous, one)
    return previous


def head_payload(head: Head) -> dict[str, Any]:
    """Return what MGT signs: where a chain ends."""
    return {"v": 1, "chain": head.chain, "seq": head.end.seq, "hash": head.end.hash, "at": head.at}


def claimed_head(envelope: str) -> Head | None:
    """Return where a chain ends according to an envelope, whoever sealed it."""
    try:
        said = json.loads(b64decode(json.loads(envelope)["payload"]))
        return Head(str(said["chain"]), End(int(said["seq"]), str(said["hash"])), str(said["at"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def opened_head(envelope: object, keys: Sequence[SupportsBytes]) -> Head | None:
    """Return where a chain ends according to an envelope; None when none of the keys signed that."""
    if not isinstance(envelope, str):
        return None
    try:
        said = wire.unseal(envelope, HEAD_TYPE, wire.Pins(tuple(keys)))
    except wire.Refused:
        return None
    return Head(said["chain"], End(said["seq"], said["hash"]), said["at"])
