"""Checks the whole audit: each chain against its signed end, and the ends against what a witness outside kept."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, SupportsBytes

from hms_mgt.domain import chain
from hms_mgt.domain.chain import End
from hms_mgt.domain.chain_walk import Finding, Link, Walk, merged, text_of

_NOWHERE = "?"


class Evidence(NamedTuple):
    """What the rows are checked against."""

    keys: Sequence[SupportsBytes]
    # The stored ends of the chains: chain, seq, hash, at, envelope.
    heads: Sequence[Mapping[str, Any]] = ()
    # Signed ends as they were kept elsewhere, oldest first.
    witness: Sequence[str] = ()
    # The chains that there must be.
    chains: Sequence[str] = ()
    # The one chain that the rows are of; None when they are of all.
    only: str | None = None
    # The rows may have been read after this instant, so the witness may know more; None when it was read first.
    until: str | None = None


class _Chain(NamedTuple):
    """All that is at hand about one chain."""

    name: str
    rows: dict[int, list[Link]]
    # Rows that belong here and have no place in it.
    loose: list[Link]
    # The ends that MGT signed: the stored one, and of the witnessed ones those that the rows do not confirm.
    signed: End | None
    witnessed: list[End]
    # Up to where the witness confirms the rows.
    confirmed: list[int]


def verify(links: Iterable[Link], evidence: Evidence) -> list[Finding]:
    """Return all that is wrong; nothing when the audit is whole."""
    rows, loose = _sorted(links)
    signed, findings = _stored_ends(evidence)
    witnessed, confirmed, unsigned = _witnessed_ends(evidence, rows)
    named = {text_of(head.get("chain")) for head in evidence.heads}
    for name in sorted({*rows, *loose, *signed, *witnessed, *evidence.chains}):
        one = _Chain(name, rows[name], loose[name], signed.get(name), witnessed[name], confirmed[name])
        if rows[name] and name not in named:
            findings.append(Finding("head-missing", name, "the signed end of the chain is missing"))
        findings += _check(one)
    return merged(findings + unsigned)


def _sorted(links: Iterable[Link]) -> tuple[dict[str, dict[int, list[Link]]], dict[str, list[Link]]]:
    rows: dict[str, dict[int, list[Link]]] = defaultdict(dict)
    loose: dict[str, list[Link]] = defaultdict(list)
    for link in links:
        if link.chain is None or link.seq is None or link.seq < 1:
            loose[link.chain or link.home or _NOWHERE].append(link)
        else:
            rows[link.chain].setdefault(link.seq, []).append(link)
    return rows, loose


def _stored_ends(evidence: Evidence) -> tuple[dict[str, End], list[Finding]]:
    signed: dict[str, End] = {}
    findings = []
    for stored in evidence.heads:
        name = text_of(stored.get("chain")) or _NOWHERE
        head = chain.opened_head(stored.get("envelope"), evidence.keys)
        if head is None:
            findings.append(Finding("head-unsigned", name, "the end of the chain is not signed by MGT"))
            continue
        if head.chain != name:
            findings.append(Finding("head-edited", name, f"what stands for its end is the end of {head.chain}"))
            continue
        said = {**head.end._asdict(), "at": head.at}
        changed = [column for column, value in said.items() if stored.get(column) != value]
        if changed:
            words = f"of the end of the chain, {' and '.join(changed)} {'was' if len(changed) == 1 else 'were'} changed"
            findings.append(Finding("head-edited", name, words))
        signed[head.chain] = max(head.end, signed.get(head.chain, head.end))
    return signed, findings


def _witnessed_ends(
    evidence: Evidence, rows: Mapping[str, Mapping[int, list[Link]]]
) -> tuple[dict[str, list[End]], dict[str, list[int]], list[Finding]]:
    """Return the witnessed ends that the rows do not confirm, and where they do; only the former need a signature."""
    witnessed: dict[str, list[End]] = defaultdict(list)
    confirmed: dict[str, list[int]] = defaultdict(list)
    forged = 0
    for line in evidence.witness:
        claim = chain.claimed_head(line)
        if claim is None or evidence.only not in {None, claim.chain}:
            continue  # torn by a crash in the middle of it, or another chain's
        name, end = claim.chain, claim.end
        if any(row.hash == end.hash for row in rows.get(name, {}).get(end.seq, ())):
            confirmed[name].append(end.seq)
        elif evidence.until is not None and claim.at > evidence.until:
            continue
        elif chain.opened_head(line, evidence.keys) is None:
            forged += 1
        else:
            witnessed[name].append(end)
    words = f"the witness holds {forged} ends that MGT did not sign"
    return witnessed, confirmed, [Finding("witness-unsigned", _NOWHERE, words)] if forged else []


def _check(one: _Chain) -> list[Finding]:
    """Check one chain against the furthest end that MGT signed."""
    end = max([*one.witnessed, *([one.signed] if one.signed else [])], default=None, key=lambda end: end.seq)
    if end is None and not one.rows:
        return [_without_chain(one)]
    old = _older(one)
    begins = (chain.genesis(link.body for link in old), chain.START)
    walk = Walk(one.name, begins if old else begins[1:])
    within = [seq for seq in sorted(one.rows) if end is None or seq <= end.seq]
    for seq in within:
        walk.take(one.rows[seq], seq)
    walk.finish(end)
    beyond = [_beyond(one, link) for seq in sorted(one.rows.keys() - set(within)) for link in one.rows[seq]]
    return walk.findings + _put_back(one, end) + _rewritten(one, walk) + beyond + _strangers(one, old)


def _older(one: _Chain) -> list[Link]:
    """Return what was written before there were chains: the first row follows all of it."""
    first = min((link.row or 0 for link in one.rows.get(1, ())), default=0)
    return sorted((link for link in one.loose if link.bare and (link.row or 0) < first), key=lambda link: link.row or 0)


def _strangers(one: _Chain, old: Sequence[Link]) -> list[Finding]:
    """Return the rows without a place, but for those that the first row vouches for, or could, were it untouched."""
    begun_anew = any(link.hash == chain.link(chain.START, link.body) for link in one.rows.get(1, ()))
    excused = set() if begun_anew else set(old)
    found = [link for link in one.loose if link not in excused]
    return [
        Finding("unchained", one.name, f"row id {link.row} has no place in the chain", row=link.row) for link in found
    ]


def _without_chain(one: _Chain) -> Finding:
    if not one.loose:
        return Finding("missing", one.name, "the whole chain is missing")
    words = f"{len(one.loose)} rows are in no chain, and nothing vouches for them"
    return Finding("unchained", one.name, words, row=one.loose[0].row)


def _beyond(one: _Chain, link: Link) -> Finding:
    kind, words = "inserted", "behind the signed end"
    if {"seq", "chain"} & set(link.changed):
        kind, words = "reordered", "moved behind the signed end"
    return Finding(kind, one.name, words, link.seq, row=link.row)


def _put_back(one: _Chain, end: End | None) -> list[Finding]:
    if one.signed is None or end is None or end.seq == one.signed.seq:
        return []
    words = f"the end of the chain was put back to here; the witness knows {end.seq}"
    return [Finding("head-edited", one.name, words, one.signed.seq)]


def _rewritten(one: _Chain, walk: Walk) -> list[Finding]:
    """Compare with the witness: it knows the hashes of rows that may have been written anew with all behind them."""
    others = sorted(end.seq for end in one.witnessed if end.seq in one.rows)
    if not others:
        return []
    last = others[0]
    first = max((seq for seq in one.confirmed if seq < last), default=0) + 1
    if any(last in one.span and one.kind in {"edited", "reordered"} for one in walk.findings):
        return []
    words = f"the witness knows another row {last}; one of these was rewritten"
    return [Finding("rewritten", one.name, words, first, last if last > first else None)]
