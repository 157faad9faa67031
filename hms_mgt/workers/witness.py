"""Keeps the signed ends of the audit outside the database: who owns the database cannot put older ones back."""

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from hms_mgt.domain import chain
from hms_mgt.domain.chain import Head
from hms_mgt.store import audit
from hms_mgt.store.database import EVERY_TENANT, Database

_LOOK_EVERY_S = 5.0
_log = structlog.get_logger()


class Witness:
    """A file to which every new end of a chain is appended, one line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: dict[str, Head] | None = None

    async def step(self, db: Database) -> float:
        """Append what is new. Each worker keeps a file of its own, or all the same one; more lines do no harm."""
        async with db.transaction(EVERY_TENANT) as tx:
            envelopes = [str(stored["envelope"]) for stored in await audit.heads(tx)]
        if self._seen is None:
            self._seen = await asyncio.to_thread(_last_lines, self._path)
        heads = {envelope: head for envelope in envelopes if (head := chain.claimed_head(envelope)) is not None}
        fresh = {envelope: head for envelope, head in heads.items() if self._seen.get(head.chain) != head}
        if fresh:
            await asyncio.to_thread(_append, self._path, fresh)
            self._compare(fresh.values())
        return _LOOK_EVERY_S

    def _compare(self, fresh: Iterable[Head]) -> None:
        """Remember the new ends, and say where one went back: nobody who only writes can do that."""
        assert self._seen is not None  # noqa: S101 - read before
        for head in fresh:
            before = self._seen.get(head.chain)
            if before is not None and head.end.seq <= before.end.seq:
                _log.error("the audit was tampered with", chain=head.chain, end=head.end.seq, was=before.end.seq)
            self._seen[head.chain] = head


def _last_lines(path: Path) -> dict[str, Head]:
    """Return the last end of each chain that the file knows."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            claims = [head for line in file if (head := chain.claimed_head(line)) is not None]
    except FileNotFoundError:
        return {}
    return {head.chain: head for head in claims}


def _append(path: Path, lines: Iterable[str]) -> None:
    """Append lines, on disk when this returns; the half of one that a crash left behind stays a line of its own."""
    with path.open("ab+") as file:
        torn = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"
        file.write((b"\n" if torn else b"") + "".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
