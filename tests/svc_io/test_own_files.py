"""What the agent wrote itself and finds changed: the journal, the copy of the base, the files that proved themselves.

Bits may rot and people may edit. Whatever stands there, the agent starts, and what it takes up has the types it wrote.
2,000 seeded changes of each file by default, 50,000 with HMS_THOROUGH=1.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hms_svc.attempt import Attempt, Trial
from hms_svc.base_copy import BaseCopy
from hms_svc.candidate import Candidate, mapping
from hms_svc.course import Course
from hms_svc.journal import Imprint, Journal, JournalFile
from hms_svc.ledger import Ledger
from hms_svc.recovery import recover
from hms_svc.rejected import Rejected
from hms_svc.report import Reporter
from hms_svc.timekeeper import Seen, Timekeeper
from hms_svc.trust import Trust
from hms_svc.watch import Watch
from hms_svc.wire import Pins, rfc3339
from tests.svc.makers import TRUST

COUNT = 50_000 if os.environ.get("HMS_THOROUGH") == "1" else 2_000
NOBODY = Trust(Pins(()), Pins(()))
BASE = "a: 1\n"
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1.5, 2**64, 10**400, float("inf"), float("-inf"), float("nan")),
    *("", "x", "inf", [], {}, [[]], {"": 1}, [1], [None], ["x", {}, [1]], ["x", {}, [[]]]),
)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "conf.yml"
    path.write_text("a: 2\n")
    return path


@pytest.fixture
def store(tmp_path: Path) -> JournalFile:
    return JournalFile(str(tmp_path), "IACB", "API", "2.1.0")


def full(conf: Path) -> Journal:
    """A journal with something in each field."""
    journal = Journal()
    journal.revision, journal.base, journal.origin = 8, BASE, BASE
    journal.written, journal.writing = Imprint("ff", {"a": 1}, (7,)), Imprint("fe", {"a": 2}, (7, 8))
    journal.active, journal.effective_sha, journal.blocked = (7,), "ff", {8: ("checked", "no")}
    journal.attempt = Attempt((7,), "aa", "2026-11-23T14:00:00Z", "FAILED", ("checked", "no"))
    journal.trial, journal.suspects = Trial((8,), 2), (8,)
    journal.receipts = [{"patch_id": 7, "stage": "effective", "at": "2026-11-23T14:00:00Z"}]
    journal.doubt, journal.unsynced = ("why", "aa"), [Imprint("fd", {}, (1,))]
    journal.seen, journal.latches.begun, journal.latches.over = Seen(1.0, 2.0, "boot"), {7}, {8}
    journal.good = [Candidate((7,), {"a": 2}, {str(conf): "a: 2\n"}), Candidate((), {}, {str(conf): BASE})]
    return journal


def places(document: Any) -> list[tuple[Any, Any]]:
    """Each container in a document with each of its keys."""
    found: list[tuple[Any, Any]] = []
    for key in list(document) if isinstance(document, dict) else range(len(document)):
        found.append((document, key))
        if isinstance(document[key], dict | list):
            found += places(document[key])
    return found


def changed(rng: Random, raw: bytes) -> bytes:
    """The same JSON with one value dropped or replaced, or with bytes that are none."""
    if rng.random() < 0.7:
        document = json.loads(raw)
        container, key = rng.choice(places(document))
        if isinstance(container, dict) and rng.random() < 0.2:
            del container[key]
        else:
            container[key] = rng.choice(ODD)
        return json.dumps(document).encode()
    at = rng.randrange(len(raw))
    return rng.choice(
        (
            lambda: raw[:at],
            lambda: raw[:at] + rng.randbytes(3) + raw[at + 3 :],
            lambda: b"[" * rng.randrange(1, 50_000),
            lambda: b'{"a":' * rng.randrange(1, 20_000),
        )
    )()


def take_up(store: JournalFile, conf: Path) -> Journal:
    """What an agent does with what it finds, before and in its first turn."""
    journal, _, spoilt = store.load(NOBODY)
    beside = BaseCopy(str(conf))
    recover(journal, beside, str(conf), spoilt=bool(spoilt))
    rfc3339(Timekeeper(1.0, 2e9, "boot", journal.seen).at(5.0))
    course = Course(journal.active, journal.blocked, journal.suspects)
    ledger = Ledger(journal, store, Reporter({}), beside)
    ledger.hold(journal.revision, journal.patches, course)
    ledger.settle(10.0)
    assert store.load(NOBODY)[2] == ""
    for good in journal.good:
        assert good.sha
    assert isinstance(journal.knows(BASE), bool)
    assert isinstance(journal.overlay, dict)
    assert isinstance(journal.base, str | None)
    assert all(isinstance(one, int) for one in journal.in_files)
    return journal


def each(raw: bytes, path: Path, again: Callable[[int], object]) -> None:
    for seed in range(COUNT):
        path.write_bytes(changed(Random(seed), raw))  # noqa: S311 - to be drawn again, not to be secret
        try:
            again(seed)
        except Exception as error:
            raise AssertionError(f"seed {seed}: {error!r}") from error


@pytest.mark.timeout(900)
def test_any_journal_is_taken_up_or_moved_aside(store: JournalFile, conf: Path, tmp_path: Path) -> None:
    store.save(full(conf))
    each((tmp_path / "journal.json").read_bytes(), tmp_path / "journal.json", lambda _: take_up(store, conf))


@pytest.mark.timeout(900)
def test_any_copy_of_the_base_is_taken_up_or_doubted(store: JournalFile, conf: Path, tmp_path: Path) -> None:
    beside = BaseCopy(str(conf))
    beside.keep(full(conf))
    path = tmp_path / ".conf.yml.hms-base"
    lines = path.read_bytes().splitlines()

    def again(seed: int) -> None:
        which = seed % len(lines)
        broken = [path.read_bytes() if number == which else line for number, line in enumerate(lines)]
        path.write_bytes(b"\n".join(broken))
        (tmp_path / "journal.json").unlink(missing_ok=True)
        take_up(store, conf)

    each(lines[0], path, again)


@pytest.mark.parametrize("field", ["base", "origin"])
@pytest.mark.parametrize("text", ["- a\n", "a: [\n", "rate_limit_rpsz 50\nb: 1\n", "\ta: 1\n"])
@pytest.mark.parametrize("lost", [False, True], ids=["journal", "copy"])
def test_a_base_that_is_no_document_is_found_again_or_doubted(  # noqa: PLR0913 - fixtures, and a table
    store: JournalFile, conf: Path, tmp_path: Path, field: str, text: str, *, lost: bool
) -> None:
    """One flipped bit is enough; no start may end for it."""
    journal = full(conf)
    BaseCopy(str(conf)).keep(journal)
    store.save(journal)
    path = tmp_path / (".conf.yml.hms-base" if lost else "journal.json")
    head, *lines = path.read_text().split("\n")
    path.write_text("\n".join([json.dumps(json.loads(head) | {field: text}), *lines]))
    if lost:
        (tmp_path / "journal.json").unlink()
    found = take_up(store, conf)
    watch = Watch(str(conf), (), found, Rejected(str(tmp_path)))
    watch.look(1.0)
    assert mapping(found.base or "") is not None
    if not lost:
        assert (found.base, found.origin) == (journal.base, journal.origin)


@pytest.mark.timeout(900)
def test_any_file_of_proven_files_is_taken_up_or_left(store: JournalFile, conf: Path, tmp_path: Path) -> None:
    store.save_good(full(conf))
    store.save(full(conf))

    def again(_: int) -> None:
        for good in store.load(NOBODY)[0].good:
            assert good.sha

    each((tmp_path / "good.json").read_bytes(), tmp_path / "good.json", again)


def test_a_revision_of_other_signers_is_none(store: JournalFile, conf: Path) -> None:
    """Killed after the keys of MGT were replaced, and before the journal was written."""
    journal = full(conf)
    for signers, revision in ((TRUST.mgt.names, 8), (["another", *TRUST.mgt.names], 8), ([], 8), (["another"], 0)):
        journal.signers = signers
        store.save(journal)
        found = store.load(TRUST)[0]
        assert (found.revision, found.complete) == (revision, revision == 8)


def test_proven_files_of_other_paths_are_no_way_back(conf: Path) -> None:
    """HMS_CONF or HMS_RENDER were changed since: what was proven lies elsewhere, and is not ours to write any more."""
    journal = full(conf)
    assert journal.last_good([7], [str(conf)]) == journal.good[0]
    assert journal.last_good([7], [str(conf), "/etc/nginx/nginx.conf"]) is None
    assert journal.last_good([7], ["/etc/other/conf.yml"]) is None
