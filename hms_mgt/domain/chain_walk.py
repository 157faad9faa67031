"""Walks along one chain of the audit, from its first row to its signed end, and says where it does not hold.

It believes nothing it is given but signatures: rows may come from any hand. What is found is named after what an
honest reader must conclude, whoever did what: rows that are not there at the end are `truncated`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hms_mgt.domain import chain
from hms_mgt.domain.chain import End

# What stands in for a hash that is not there. Nothing follows it.
_NO_HASH = "?"


class Finding(NamedTuple):
    """One thing that is wrong, in which chain, and at which number in it or at which row id."""

    kind: str
    chain: str
    what: str
    seq: int | None = None
    # The last number, where it is about several rows, or about one of them.
    through: int | None = None
    row: int | None = None

    @property
    def words(self) -> str:
        """Return it for a person."""
        number = "" if self.seq is None else f" {self.seq}"
        last = "" if self.through is None else f" to {self.through}"
        return f"{self.chain}{number}{last}: {self.what}"

    @property
    def span(self) -> range:
        """Return the numbers it is about."""
        return range(0) if self.seq is None else range(self.seq, (self.through or self.seq) + 1)


class Link(NamedTuple):
    """What there is to know of a row to check it."""

    row: int | None
    chain: str | None
    seq: int | None
    hash: str | None
    body: str
    # The columns that do not fit the row's own checksums.
    changed: tuple[str, ...]
    # The chain that a row of this tenant belongs to.
    home: str | None

    @property
    def bare(self) -> bool:
        """Tell whether this is as rows were written before there were chains."""
        return (self.chain, self.seq, self.hash) == (None, None, None)


def link_of(row: Mapping[str, Any]) -> Link:
    """Return what there is to know of a row, whatever it holds."""
    texts, tenant = chain.texts(row), row.get("tenant")
    home = chain.chain_of(tenant) if tenant is None or isinstance(tenant, str) else None
    changed = _changed(texts, row.get("checksums"))
    name, digest = text_of(row.get("chain")), text_of(row.get("hash"))
    return Link(number_of(row.get("id")), name, number_of(row.get("seq")), digest, chain.body(texts), changed, home)


def text_of(value: object) -> str | None:
    """Return what is text."""
    return value if isinstance(value, str) else None


def number_of(value: object) -> int | None:
    """Return what is a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _changed(texts: Sequence[str], kept: object) -> tuple[str, ...]:
    own = chain.checksums(texts)
    if kept == own:
        return ()
    if not isinstance(kept, str) or len(kept) != len(own):
        return ("checksums",)
    width = len(own) // len(texts)
    starts = range(0, len(own), width)
    marks = [(own[start : start + width], kept[start : start + width]) for start in starts]
    return tuple(name for name, (mine, theirs) in zip(chain.COLUMNS, marks, strict=True) if mine != theirs)


class Walk:
    """One walk along one chain. Rows are taken in their order, then comes the signed end."""

    def __init__(self, name: str, begins: Sequence[str]) -> None:
        """`begins` are the hashes that the first row may follow."""
        self.findings: list[Finding] = []
        self._name = name
        self._seq = 0
        self._row = 0
        # What the next row may follow: the last row's hash as it is stored, then as it ought to be.
        self._ways = tuple(begins)
        # A row that looks untouched and yet does not follow the one before; what comes next tells which of them is.
        self._doubt: int | None = None

    def take(self, rows: Sequence[Link], seq: int) -> None:
        """Take the next row; where several have its number, the one that fits best."""
        if seq > self._seq + 1:
            self._skip("missing", seq - 1)
        row = max(rows, key=lambda one: (self._follows(one), not one.changed))
        for other in rows:
            if other is not row:
                self._add("inserted", "there more than once", seq, row=other.row)
        self._check(row, seq)
        self._check_id(row, seq)
        stored = row.hash or _NO_HASH
        self._ways = (stored, chain.link(self._ways[0], row.body) if self._ways else stored)
        self._seq = seq

    def finish(self, end: End | None) -> None:
        """Come to the end: what MGT signed, if that is known."""
        if end is None or self._seq > end.seq:
            self._settle(None)
        elif self._seq < end.seq:
            self._skip("truncated", end.seq)
        else:
            way = self._ways.index(end.hash) if end.hash in self._ways else None
            self._settle(way)
            if way is None and not self.found(end.seq, end.seq):
                self._add("rewritten", "not the row that was signed; this one or one before it was rewritten", end.seq)

    def found(self, first: int, last: int) -> bool:
        """Tell whether something was found among these rows."""
        return any(one.span and first <= one.span[-1] and one.span[0] <= last for one in self.findings)

    def _follows(self, row: Link) -> bool:
        return any(row.hash == chain.link(way, row.body) for way in self._ways)

    def _check(self, row: Link, seq: int) -> None:
        ways = [row.hash == chain.link(way, row.body) for way in self._ways]
        self._settle(ways.index(True) if True in ways else None)
        if row.hash == chain.link(chain.TORN, row.body):
            self._add("torn", "written behind an end that had been tampered with", seq, row=row.row)
        elif row.changed:
            self._add(*_change(row, proven=True in ways), seq, row=row.row)
        elif self._ways and True not in ways:
            self._doubt = seq

    def _check_id(self, row: Link, seq: int) -> None:
        if (row.row is None or row.row <= self._row) and not self.found(seq - 1, seq):
            first = max(seq - 1, 1)
            self._add("reordered", "the ids are not in the order of the rows", first, through=seq, row=row.row)
        self._row = row.row or self._row

    def _settle(self, way: int | None) -> None:
        """Decide about the row in doubt by what follows it: its hash as stored, as it ought to be, or neither."""
        seq, self._doubt = self._doubt, None
        if seq is None:
            return
        if way == 1:
            self._add("edited", "hash was changed", seq)
        elif not self.found(seq - 1, seq):
            words = f"{seq} does not follow what stands before it; one of the two was rewritten"
            self._add("rewritten", words, max(seq - 1, 1), through=seq)

    def _skip(self, kind: str, last: int) -> None:
        self._settle(None)
        words = "missing at the end" if kind == "truncated" else "missing"
        self._add(kind, words, self._seq + 1, through=last)
        self._ways, self._seq = (), last

    def _add(self, kind: str, what: str, seq: int, *, through: int | None = None, row: int | None = None) -> None:
        several = through is not None and through > seq
        self.findings.append(Finding(kind, self._name, what, seq, through if several else None, row))


def _change(row: Link, *, proven: bool) -> tuple[str, str]:
    """Return the kind of a change and its words; `proven` when the row's hash holds all the same."""
    if proven:
        return "edited", "checksums was changed"
    words = f"{' and '.join(row.changed)} {'was' if len(row.changed) == 1 else 'were'} changed"
    return "reordered" if {"seq", "chain"} & set(row.changed) else "edited", words


def merged(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings with those as one that say the same of rows in succession."""
    result: list[Finding] = []
    for one in findings:
        last = result[-1] if result else None
        if last and last[:3] == one[:3] and one.seq is not None and last.span and one.seq == last.span[-1] + 1:
            result[-1] = last._replace(through=one.span[-1])
        else:
            result.append(one)
    return result
