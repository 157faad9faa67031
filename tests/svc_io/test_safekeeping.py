"""The journal gets onto the disk in the end, and a disk that refuses is asked once a second."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hms_svc import conf_file
from hms_svc.base_copy import BaseCopy
from hms_svc.candidate import Candidate
from hms_svc.journal import Journal, JournalFile
from hms_svc.report import Reporter
from hms_svc.safekeeping import RETRY_SECONDS, Safekeeping
from hms_svc.settings import Settings

from .bench import STATE, Bench
from .makers import Hands

Configure = Callable[..., Settings]


def receipts_on_disk(bench: Bench) -> list[str]:
    return [receipt["stage"] for receipt in json.loads(Path(bench.store.path).read_text())["receipts"]]


# --- files that proved themselves


def test_receipts_delivered_in_the_bake_are_not_told_again(configure: Configure, hands: Hands) -> None:
    bench = Bench(configure(HMS_BAKE="5"), hands)
    bench.settle(7, seconds=3)
    assert receipts_on_disk(bench)[-1] == "effective"
    bench.reporter.delivered(STATE, hands.at)
    bench.settle(7, seconds=1)
    assert receipts_on_disk(bench)[-1] == "effective", "they alone are no reason to write"
    bench.settle(7, seconds=2)
    assert Path(bench.store.good_path).exists()
    assert receipts_on_disk(bench) == []
    assert bench.again().receipts() == []


# --- a disk that refuses


class Shelf:
    """A journal with files that proved themselves, and a place for both."""

    def __init__(self, place: Path) -> None:
        self.store = JournalFile(str(place), "IACB", "API", "2.1.0")
        journal = Journal()
        journal.receipts = [{"patch_id": 7, "stage": "effective", "at": "2026-11-23T14:00:00Z"}]
        journal.promote(Candidate((7,), {}, {f"{place}/conf.yml": "a: 7\n"}))
        self.disk = Safekeeping(journal, self.store, Reporter({}), BaseCopy(f"{place}/conf.yml"))

    def fall_behind(self) -> None:
        self.disk.fall_behind()
        self.disk.promoted()

    def told(self) -> list[str]:
        """The stages of the receipts on disk."""
        return [one["stage"] for one in json.loads(Path(self.store.path).read_text())["receipts"]]

    @property
    def files(self) -> list[str]:
        return [path for path in (self.store.path, self.store.good_path) if Path(path).exists()]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def refuse(path: str) -> Path:
    """Have this file not be written, by root neither: where its new content goes first, a directory stands."""
    obstacle = Path(conf_file.temp_name(path))
    obstacle.mkdir()
    return obstacle


@pytest.mark.parametrize("which", ["path", "good_path"])
def test_a_disk_that_refused_is_asked_again_after_a_second_and_not_sooner(shelf: Shelf, which: str) -> None:
    refused = getattr(shelf.store, which)
    obstacle = refuse(refused)
    shelf.fall_behind()
    shelf.disk.settle(100.0)
    assert shelf.disk.trouble() == f"{refused}: Is a directory"
    assert shelf.disk.wake_at() == [100.0 + RETRY_SECONDS]
    obstacle.rmdir()
    shelf.disk.settle(100.9)
    assert refused not in shelf.files
    assert shelf.disk.trouble()
    shelf.disk.settle(101.0)
    assert shelf.files == [shelf.store.path, shelf.store.good_path]
    assert shelf.disk.trouble() == ""
    assert shelf.disk.wake_at() == []


def test_each_refusal_makes_it_wait_again_and_is_said_once(shelf: Shelf, capfd: pytest.CaptureFixture[str]) -> None:
    obstacle = refuse(shelf.store.path)
    shelf.fall_behind()
    for step in range(31):
        shelf.disk.settle(100.0 + step / 10)
    assert shelf.disk.wake_at() == [103.0 + RETRY_SECONDS]
    obstacle.rmdir()
    obstacle.symlink_to("elsewhere")
    shelf.disk.settle(104.0)
    said: list[Any] = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [one["event"] for one in said] == ["journal_not_written"] * 2
    assert [one["detail"].split(": ")[1] for one in said] == ["Is a directory", "Too many levels of symbolic links"]


def test_what_changes_in_the_pause_is_tried_at_once(shelf: Shelf) -> None:
    obstacle = refuse(shelf.store.path)
    shelf.fall_behind()
    shelf.disk.settle(100.0)
    obstacle.rmdir()
    shelf.disk.fall_behind()
    shelf.disk.settle(100.1)
    assert shelf.store.path in shelf.files


def test_who_leaves_in_the_pause_tries_once_more(shelf: Shelf) -> None:
    obstacle = refuse(shelf.store.path)
    shelf.fall_behind()
    shelf.disk.settle(100.0)
    obstacle.rmdir()
    shelf.disk.leave()
    assert shelf.store.path in shelf.files


# --- files that proved themselves, while receipts stand in the journal


def test_a_journal_refused_where_proven_files_were_taken_is_tried_again(shelf: Shelf) -> None:
    obstacle = refuse(shelf.store.path)
    shelf.disk.promoted()
    shelf.disk.settle(100.0)
    assert shelf.files == [shelf.store.good_path]
    assert shelf.disk.wake_at() == [100.0 + RETRY_SECONDS]
    obstacle.rmdir()
    shelf.disk.settle(101.0)
    assert shelf.told() == ["effective"]
    assert shelf.disk.trouble() == ""


def test_who_leaves_at_the_end_of_the_bake_has_both_written(shelf: Shelf) -> None:
    shelf.disk.promoted()
    shelf.disk.leave()
    assert shelf.files == [shelf.store.path, shelf.store.good_path]
    assert shelf.told() == ["effective"]
