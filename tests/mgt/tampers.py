"""What a superuser can do to the audit behind our back, a function a way of doing it."""

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import psycopg
from nacl.signing import SigningKey
from psycopg import sql

from hms_mgt.domain import chain
from hms_mgt.domain.chain import End
from hms_mgt.signer import Signer
from tests.mgt.history import rows

CHAINS = ("IACB", "VA", "*")
VALUES: dict[str, Any] = {
    "tenant": ("VA", "IACB", None),
    "at": ("2026-11-23T11:00:00Z", "infinity", "0044-03-15 BC"),
    "actor": ("eve",),
    "role": ("viewer", None),
    "source": ("203.0.113.9",),
    "action": ("patch.cancelled",),
    "subject": ("patch/99",),
    "before": ('{"status": "APPLIED"}', "null", "[]"),
    "after": ('{"status":"HALTED"}', '{"a":1,"a":2}', None),
    "detail": ('{"reason":"none"}', "{ }"),
    "decision_id": ("d-99",),
    "request_id": ("r-99",),
    "chain": ("XX", None),
    "seq": (1_000_000, -3, None),
    "hash": ("0" * 64, "", None),
    "checksums": ("0" * 56, "", None),
}


class Touched(NamedTuple):
    """What a tamper touched: rows of a chain by number or id, or its end where there are neither."""

    chain: str
    seqs: frozenset[int] = frozenset()
    rows: frozenset[int] = frozenset()


class Owner:
    """A superuser at work."""

    def __init__(self, connection: psycopg.Connection[Any], witness: list[str], seed: int) -> None:
        self.db = connection
        self.witness = witness
        self.random = random.Random(seed)  # noqa: S311 - so that each run does the same
        self.chain = self.random.choice(CHAINS)
        self.last = int(self.ask("SELECT max(seq) FROM audit WHERE chain = %s", self.chain)[0][0])

    def ask(self, query: str, *values: object) -> list[Any]:
        return rows(self.db, query, *values)

    def run(self, query: str, *values: object) -> None:
        self.db.execute(query.encode(), values)

    def any(self, first: int = 1, last: int | None = None) -> int:
        return self.random.randint(first, last or self.last)

    def id_of(self, seq: int) -> int:
        return int(self.ask("SELECT id FROM audit WHERE chain = %s AND seq = %s", self.chain, seq)[0][0])

    def row(self, seq: int) -> dict[str, Any]:
        """A row as it is hashed."""
        query = "SELECT row_to_json(audit) FROM audit WHERE chain = %s AND seq = %s"
        found: dict[str, Any] = self.ask(query, self.chain, seq)[0][0]
        (at,) = self.ask("SELECT at FROM audit WHERE chain = %s AND seq = %s", self.chain, seq)[0]
        return found | {"at": chain.stamp(at)}

    def seal_anew(self, row: dict[str, Any], previous: str) -> str:
        """Write a row with a hash and checksums that fit. Returns the hash."""
        texts = chain.texts(row)
        digest = chain.link(previous, chain.body(texts))
        self.run(
            "UPDATE audit SET actor = %s, hash = %s, checksums = %s WHERE id = %s",
            *(row["actor"], digest, chain.checksums(texts), row["id"]),
        )
        return digest

    def forge(self, seq: int, previous: str) -> int:
        """Put a row in that fits the one before it. Returns its id."""
        row = {**self.row(self.last), "seq": seq, "actor": "eve"}
        row.pop("id")
        texts = chain.texts(row)
        row |= {"hash": chain.link(previous, chain.body(texts)), "checksums": chain.checksums(texts)}
        row |= {name: None if row[name] is None else chain.spelled(row[name]) for name in chain.JSON_COLUMNS}
        names = sql.SQL(", ").join(map(sql.Identifier, row))
        marks = sql.SQL(", ").join([sql.Placeholder()] * len(row))
        query = sql.SQL("INSERT INTO audit ({}) VALUES ({}) RETURNING id").format(names, marks)
        (number,) = self.db.execute(query, list(row.values())).fetchone() or (0,)
        return int(number)

    def at(self, *seqs: int) -> Touched:
        return Touched(self.chain, frozenset(seqs))


def edit(owner: Owner) -> Touched:
    seq, column = owner.any(), owner.random.choice(sorted(VALUES))
    number = owner.id_of(seq)
    (kept,) = owner.ask(f"SELECT {column}::text FROM audit WHERE id = %s", number)[0]  # noqa: S608 - our own words
    value = owner.random.choice([one for one in VALUES[column] if one != kept])
    owner.run(f"UPDATE audit SET {column} = %s WHERE id = %s", value, number)  # noqa: S608 - our own words
    return Touched(owner.chain, frozenset({seq}), frozenset({number}))


def edit_id(owner: Owner) -> Touched:
    seq = owner.any(2, owner.last - 1)
    owner.run("UPDATE audit SET id = %s WHERE id = %s", owner.random.choice((-1, 10**6)), owner.id_of(seq))
    return owner.at(seq, seq + 1)


def edit_and_seal_anew(owner: Owner) -> Touched:
    seq = owner.any(2)
    owner.seal_anew({**owner.row(seq), "actor": "eve"}, owner.row(seq - 1)["hash"])
    return owner.at(seq)


def edit_and_fix_the_checksums(owner: Owner) -> Touched:
    seq = owner.any()
    row = {**owner.row(seq), "actor": "eve"}
    sums = chain.checksums(chain.texts(row))
    owner.run("UPDATE audit SET actor = 'eve', checksums = %s WHERE id = %s", sums, row["id"])
    return owner.at(seq)


def seal_all_anew_from_somewhere(owner: Owner) -> Touched:
    first = owner.any(2)
    previous = owner.row(first - 1)["hash"]
    for seq in range(first, owner.last + 1):
        row = owner.row(seq)
        previous = owner.seal_anew({**row, "actor": "eve" if seq == first else row["actor"]}, previous)
    owner.run("UPDATE audit_head SET hash = %s WHERE tenant = %s", previous, owner.chain)
    return owner.at(first)


def delete_in_the_middle(owner: Owner) -> Touched:
    first = owner.any(2, owner.last - 1)
    last = owner.any(first, owner.last - 1)
    owner.run("DELETE FROM audit WHERE chain = %s AND seq BETWEEN %s AND %s", owner.chain, first, last)
    return owner.at(*range(first, last + 1))


def delete_and_close_the_gap(owner: Owner) -> Touched:
    seq = owner.any(2, owner.last - 1)
    owner.run("DELETE FROM audit WHERE chain = %s AND seq = %s", owner.chain, seq)
    for later in range(seq + 1, owner.last + 1):
        owner.run("UPDATE audit SET seq = seq - 1 WHERE chain = %s AND seq = %s", owner.chain, later)
    return owner.at(seq)


def delete_and_seal_all_anew(owner: Owner) -> Touched:
    touched = delete_and_close_the_gap(owner)
    (seq,) = touched.seqs
    previous = owner.row(seq - 1)["hash"]
    for later in range(seq, owner.last):
        previous = owner.seal_anew(owner.row(later), previous)
    query = "UPDATE audit_head SET hash = %s, seq = seq - 1 WHERE tenant = %s"
    owner.run(query, previous, owner.chain)
    return touched


def delete_the_beginning(owner: Owner) -> Touched:
    last = owner.any(1, owner.last - 1)
    owner.run("DELETE FROM audit WHERE chain = %s AND seq <= %s", owner.chain, last)
    return owner.at(*range(1, last + 1))


def cut_off_the_end(owner: Owner) -> Touched:
    first = owner.any(2)
    owner.run("DELETE FROM audit WHERE chain = %s AND seq >= %s", owner.chain, first)
    return owner.at(*range(first, owner.last + 1))


def cut_off_the_end_and_put_an_older_one_back(owner: Owner) -> Touched:
    older = [head for line in owner.witness if (head := chain.claimed_head(line)) and head.chain == owner.chain]
    index = owner.random.randrange(len(older) - 1)
    envelope = next(line for line in owner.witness if chain.claimed_head(line) == older[index])
    _, end, at = older[index]
    owner.run("DELETE FROM audit WHERE chain = %s AND seq > %s", owner.chain, end.seq)
    query = "UPDATE audit_head SET seq = %s, hash = %s, at = %s, envelope = %s WHERE tenant = %s"
    owner.run(query, end.seq, end.hash, at, envelope, owner.chain)
    return owner.at(*range(end.seq + 1, owner.last + 1))


def delete_all_rows(owner: Owner) -> Touched:
    owner.run("DELETE FROM audit WHERE chain = %s", owner.chain)
    return owner.at(*range(1, owner.last + 1))


def delete_all_rows_and_the_head(owner: Owner) -> Touched:
    owner.run("DELETE FROM audit WHERE chain = %s", owner.chain)
    owner.run("DELETE FROM audit_head WHERE tenant = %s", owner.chain)
    return owner.at(*range(1, owner.last + 1))


def swap_two_rows(owner: Owner) -> Touched:
    one, other = owner.random.sample(range(1, owner.last + 1), 2)
    for source, target in ((one, 0), (other, one), (0, other)):
        owner.run("UPDATE audit SET seq = %s WHERE chain = %s AND seq = %s", target, owner.chain, source)
    return owner.at(one, other)


def swap_with_another_tenants_row(owner: Owner) -> Touched:
    seq = owner.any(1, 10)
    mine, theirs = (
        owner.ask("SELECT id FROM audit WHERE chain = %s AND seq = %s", name, seq)[0][0] for name in ("IACB", "VA")
    )
    for number, name in ((mine, "on the way"), (theirs, "IACB"), (mine, "VA")):
        owner.run("UPDATE audit SET chain = %s, tenant = %s WHERE id = %s", name, name, number)
    return Touched("IACB", frozenset({seq}), frozenset({mine, theirs}))


def swap_what_two_rows_say(owner: Owner) -> Touched:
    one, other = owner.random.sample(range(1, owner.last + 1), 2)
    said = {seq: owner.row(seq) for seq in (one, other)}
    for seq, source in ((one, other), (other, one)):
        values = [said[source][name] for name in ("action", "subject", "actor", "at")]
        query = "UPDATE audit SET action = %s, subject = %s, actor = %s, at = %s WHERE id = %s"
        owner.run(query, *values, said[seq]["id"])
    return owner.at(one, other)


def put_a_row_at_the_end(owner: Owner) -> Touched:
    number = owner.forge(owner.last + 1, owner.row(owner.last)["hash"])
    return Touched(owner.chain, frozenset({owner.last + 1}), frozenset({number}))


def put_a_row_in_beside_another(owner: Owner) -> Touched:
    owner.run("DROP INDEX ix_audit_chain")
    seq = owner.any(2)
    number = owner.forge(seq, owner.row(seq - 1)["hash"])
    return Touched(owner.chain, frozenset({seq}), frozenset({number}))


def put_a_row_in_between(owner: Owner) -> Touched:
    seq = owner.any(2)
    for later in range(owner.last, seq - 1, -1):
        owner.run("UPDATE audit SET seq = seq + 1 WHERE chain = %s AND seq = %s", owner.chain, later)
    owner.last += 1
    owner.forge(seq, owner.row(seq - 1)["hash"])
    return owner.at(seq, seq + 1)


def put_a_row_in_no_chain(owner: Owner) -> Touched:
    number = owner.forge(owner.last + 1, "")
    owner.run("UPDATE audit SET chain = NULL, seq = NULL, hash = NULL, checksums = NULL WHERE id = %s", number)
    return Touched(owner.chain, rows=frozenset({number}))


def take_a_row_out_of_its_chain(owner: Owner) -> Touched:
    seq = owner.any()
    number = owner.id_of(seq)
    owner.run("UPDATE audit SET chain = NULL, seq = NULL, hash = NULL, checksums = NULL WHERE id = %s", number)
    return Touched(owner.chain, frozenset({seq}), frozenset({number}))


def edit_the_head(owner: Owner) -> Touched:
    value = {"seq": 3, "hash": "0" * 64, "at": "infinity", "envelope": "{}", "tenant": "XX"}
    column = owner.random.choice(sorted(value))
    owner.run(f"UPDATE audit_head SET {column} = %s WHERE tenant = %s", value[column], owner.chain)  # noqa: S608
    return Touched(owner.chain)


def delete_the_head(owner: Owner) -> Touched:
    owner.run("DELETE FROM audit_head WHERE tenant = %s", owner.chain)
    return Touched(owner.chain)


def give_a_chain_anothers_head(owner: Owner) -> Touched:
    other = owner.random.choice([name for name in CHAINS if name != owner.chain])
    query = "UPDATE audit_head SET (seq, hash, at, envelope) = (SELECT seq, hash, at, envelope FROM audit_head"
    owner.run(query + " WHERE tenant = %s) WHERE tenant = %s", other, owner.chain)
    return Touched(owner.chain)


def sign_the_head_with_another_key(owner: Owner) -> Touched:
    row = owner.row(owner.last)
    head = chain.Head(owner.chain, End(row["seq"], row["hash"]), row["at"])
    envelope = Signer(SigningKey.generate()).audit_head(head)
    owner.run("UPDATE audit_head SET envelope = %s WHERE tenant = %s", envelope, owner.chain)
    return Touched(owner.chain)


TAMPERS: list[Callable[[Owner], Touched]] = [
    edit,
    edit,
    edit,
    edit,
    edit_id,
    edit_and_seal_anew,
    edit_and_fix_the_checksums,
    seal_all_anew_from_somewhere,
    delete_in_the_middle,
    delete_and_close_the_gap,
    delete_and_seal_all_anew,
    delete_the_beginning,
    cut_off_the_end,
    cut_off_the_end_and_put_an_older_one_back,
    delete_all_rows,
    delete_all_rows_and_the_head,
    swap_two_rows,
    swap_with_another_tenants_row,
    swap_what_two_rows_say,
    put_a_row_at_the_end,
    put_a_row_in_beside_another,
    put_a_row_in_between,
    put_a_row_in_no_chain,
    take_a_row_out_of_its_chain,
    edit_the_head,
    delete_the_head,
    give_a_chain_anothers_head,
    sign_the_head_with_another_key,
]
