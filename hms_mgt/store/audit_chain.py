"""Appends to the audit's chains: row behind row, and with them the signed end of each chain."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Select, Text, bindparam, cast, insert, select, true, update
from sqlalchemy.dialects.postgresql import JSON
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import chain
from hms_mgt.domain.chain import End, Head
from hms_mgt.signer import Signer
from hms_mgt.store import audit
from hms_mgt.store.tables import audit as audit_row
from hms_mgt.store.tables import audit_head

_log = structlog.get_logger()
# Numbers above it were not counted up to; one of them must not leave the next row without a number.
_HIGHEST = 2**62
_APPEND = insert(audit_row).values(
    {name: bindparam(f"{name}_", type_=audit_row.c[name].type) for name in (*chain.COLUMNS, "hash", "checksums")}
    | {name: cast(bindparam(f"{name}_", type_=Text), JSON) for name in chain.JSON_COLUMNS}
)
_last = (
    select(audit_row.c.seq, audit_row.c.hash)
    .where(audit_row.c.chain == audit_head.c.tenant, audit_row.c.seq.between(1, _HIGHEST))
    .order_by(audit_row.c.seq.desc())
    .limit(1)
    .lateral("last")
)
_ENDS: Select[Any] = (
    select(
        audit_head.c.seq,
        audit_head.c.hash,
        cast(audit_head.c.at, Text).label("at"),
        audit_head.c.envelope,
        _last.c.seq.label("last_seq"),
        _last.c.hash.label("last_hash"),
    )
    .select_from(audit_head.outerjoin(_last, true()))
    .where(audit_head.c.tenant == bindparam("chain"))
    .with_for_update(of=audit_head)
)


class Written(NamedTuple):
    """The end of a chain as this process wrote it."""

    head: Head
    envelope: str


class AuditChain:
    """Chains what happened, and knows which ends it wrote itself."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer
        self._written: dict[str, Written] = {}

    async def append(self, tx: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> dict[str, Written]:
        """Append rows to their chains, in their order. Returns the new ends, to `remember` once they are committed.

        The end of each chain stays locked to the end of the transaction, so this comes last.
        """
        ordered = sorted(rows, key=_chain)  # everybody locks in this order
        return {name: await self._extend(tx, name, list(mine)) for name, mine in groupby(ordered, _chain)}

    def remember(self, written: Mapping[str, Written]) -> None:
        """Keep the ends that were committed; of two the further one."""
        for name, one in written.items():
            known = self._written.get(name)
            if known is None or known.head.end.seq < one.head.end.seq:
                self._written[name] = one

    async def _extend(self, tx: AsyncConnection, name: str, rows: list[Mapping[str, Any]]) -> Written:
        at = rows[-1]["at"]
        placed = chain.sealed(await self._end(tx, name, at), [{**row, "at": chain.stamp(row["at"])} for row in rows])
        await tx.execute(_APPEND, [_stored(row, given["at"]) for row, given in zip(placed, rows, strict=True)])
        head = Head(name, End(placed[-1]["seq"], placed[-1]["hash"]), placed[-1]["at"])
        envelope = self._signer.audit_head(head)
        mine = update(audit_head).where(audit_head.c.tenant == name)
        await tx.execute(mine.values(**head.end._asdict(), at=at, envelope=envelope))
        return Written(head, envelope)

    async def _end(self, tx: AsyncConnection, name: str, at: datetime) -> End:
        """Return what the chain's next row follows."""
        row = await _locked(tx, name, at)
        known = self._written.get(name)
        if row.seq == 0 and row.last_seq is None and known is None:
            return End(0, chain.genesis([chain.body(chain.texts(old)) async for old in audit.unchained(tx, name)]))
        head = Head(name, End(row.seq, row.hash), str(chain.stamp_of(row.at)))
        if head.end == End(row.last_seq, row.last_hash) and self._is_ours(head, row.envelope):
            return head.end
        _log.error("the audit was tampered with", chain=name, end=row.seq, last=row.last_seq)
        return End(max(row.last_seq or 0, known.head.end.seq if known else 0), chain.TORN)

    def _is_ours(self, head: Head, envelope: str) -> bool:
        known = self._written.get(head.chain)
        if known == (head, envelope):
            return True
        # A chain only grows: an end before one that this process wrote was put back.
        grown = known is None or known.head.end.seq <= head.end.seq
        return grown and self._signer.opened_head(envelope) == head


async def _locked(tx: AsyncConnection, name: str, at: datetime) -> Any:
    """Lock the end of a chain, made first where there is none, and read it beside the chain's last row."""
    head = (await tx.execute(_ENDS, {"chain": name})).one_or_none()
    if head is None:
        first = upsert(audit_head).values(tenant=name, seq=0, hash="", at=at, envelope="")
        await tx.execute(first.on_conflict_do_nothing())
        head = (await tx.execute(_ENDS, {"chain": name})).one()
    if (head.seq, head.hash) == (head.last_seq, head.last_hash):
        return head
    # Whoever had to wait for the lock saw the end after the wait, but the rows as they were before.
    return (await tx.execute(_ENDS, {"chain": name})).one()


def _chain(row: Mapping[str, Any]) -> str:
    return chain.chain_of(row["tenant"])


def _stored(row: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """Return a row as the statement takes it: JSON letter by letter as it was hashed."""
    values = {name: row[name] for name in chain.JSON_COLUMNS}
    spelled = {name: None if value is None else chain.spelled(value) for name, value in values.items()}
    return {f"{name}_": value for name, value in {**row, **spelled, "at": at}.items()}
