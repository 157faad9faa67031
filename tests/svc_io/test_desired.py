"""What a message may change in the held state, and what it may not."""

import json
from pathlib import Path

import pytest

from hms_svc.base_copy import BaseCopy
from hms_svc.desired import Desired
from hms_svc.journal import Journal, JournalFile
from hms_svc.latches import Latches
from hms_svc.ledger import Ledger
from hms_svc.messages import MAX_PATCHES, Heartbeat
from hms_svc.report import Reporter
from hms_svc.timekeeper import Seen
from hms_svc.wire import Refused
from tests.svc.makers import TRUST

from .makers import message, patch

NOW = 100.0


@pytest.fixture
def desired() -> Desired:
    held = Desired("API", "2.1.0", "api-1", NOW)
    held.hear(message("snapshot", 5, patch(1)), NOW)
    return held


def reason(desired: Desired, heard: object) -> str:
    with pytest.raises(Refused) as refusal:
        desired.hear(heard, NOW)  # type: ignore[arg-type]
    return refusal.value.reason


def test_a_delta_on_its_predecessor_is_taken(desired: Desired) -> None:
    assert desired.hear(message("delta", 6, patch(2), ended=(1,)), NOW)
    assert (desired.revision, set(desired.patches), desired.behind) == (6, {2}, False)


@pytest.mark.parametrize("revision", [1, 4, 5])
def test_an_old_delta_is_refused(desired: Desired, revision: int) -> None:
    assert reason(desired, message("delta", revision, patch(9))) == "replayed"
    assert set(desired.patches) == {1}


def test_a_delta_over_a_gap_only_tells_of_the_gap(desired: Desired) -> None:
    assert not desired.hear(message("delta", 8, patch(9)), NOW)
    assert (desired.revision, set(desired.patches), desired.behind) == (5, {1}, True)
    assert desired.hear(message("snapshot", 8, patch(9)), NOW)
    assert (desired.revision, set(desired.patches), desired.behind) == (8, {9}, False)


def test_a_delta_after_which_no_snapshot_could_hold_it_all_is_left(desired: Desired) -> None:
    """Somebody with MGT's key and many an old decision: what is held stays as small as a message."""
    for revision in range(6, 600):
        desired.hear(message("delta", revision, patch(revision)), NOW)
    assert len(desired.patches) == MAX_PATCHES
    assert desired.behind
    desired.hear(message("snapshot", 600, patch(1)), NOW)
    huge = {"payload": "x" * 200_000}
    desired.hear(message("delta", 601, patch(2, envelope=huge)), NOW)
    desired.hear(message("delta", 602, patch(3, envelope=huge)), NOW)
    assert list(desired.patches) == [1, 2]
    assert desired.behind


def test_snapshots_go_forward_only(desired: Desired) -> None:
    assert not desired.hear(message("snapshot", 5), NOW)
    assert set(desired.patches) == {1}
    assert reason(desired, message("snapshot", 4)) == "replayed"
    assert reason(desired, message("snapshot", 9, service="OTHER")) == "wrong_service"


def test_a_neighbours_delta_is_nothing_to_us(desired: Desired) -> None:
    assert not desired.hear(message("delta", 1, patch(9), service="OTHER"), NOW)
    assert not desired.behind


def test_heartbeats(desired: Desired) -> None:
    desired.hear(Heartbeat("IACB", NOW, {"API": 7, "OTHER": 99}), NOW)
    assert desired.behind
    assert desired.head == 7
    assert reason(desired, Heartbeat("IACB", NOW, {"API": 9})) == "replayed"
    assert reason(desired, Heartbeat("IACB", NOW - 31, {"API": 9})) == "expired"
    assert desired.head == 7


def test_a_control_plane_that_stays_behind_what_is_held_is_noticed(desired: Desired) -> None:
    seen = []
    for issued, head in enumerate((5, 4, 5, 4, 3, 6)):
        desired.hear(Heartbeat("IACB", NOW + issued, {"API": head}), NOW)
        seen.append(desired.overtaken)
    assert seen == [False, False, False, False, True, False]
    for issued in (10, 11):
        desired.hear(Heartbeat("IACB", NOW + issued, {}), NOW)
    assert not desired.overtaken


def test_a_newer_revision_shows_that_it_has_come_after(desired: Desired) -> None:
    seen = []
    for heard in (Heartbeat("IACB", 101, {"API": 4}), Heartbeat("IACB", 102, {"API": 4}), message("snapshot", 6)):
        desired.hear(heard, NOW)
        seen.append(desired.overtaken)
    assert seen == [False, True, False]


def test_a_heartbeat_of_a_clock_that_was_wrong_does_not_outlive_it(desired: Desired) -> None:
    """Our own time went along with it and has come back since: `now` is the judged time."""
    desired.hear(Heartbeat("IACB", NOW + 3600, {}), NOW + 3600)
    desired.hear(Heartbeat("IACB", NOW + 10, {"API": 9}), NOW + 10)
    assert desired.head == 9
    assert reason(desired, Heartbeat("IACB", NOW + 10, {})) == "replayed"


def test_freshness(desired: Desired) -> None:
    assert not desired.stale(NOW + 30)
    assert desired.stale(NOW + 31)
    desired.hear(Heartbeat("IACB", NOW + 20, {}), NOW + 20)
    assert not desired.stale(NOW + 50)


def test_silence_counts_from_the_start() -> None:
    desired = Desired("API", "2.1.0", "api-1", NOW)
    assert not desired.stale(NOW + 30)
    assert desired.stale(NOW + 31)
    desired.hear(message("snapshot", 5, patch(1)), NOW + 40)
    assert desired.stale(NOW + 40), "a snapshot may be old: only when it was signed counts"


def test_a_word_from_the_future_is_no_credit(desired: Desired) -> None:
    desired.hear(Heartbeat("IACB", NOW + 3600, {}), NOW)
    assert desired.stale(NOW + 31)


def test_a_journal_that_lost_a_patch_takes_its_own_revision_again() -> None:
    desired = Desired("API", "2.1.0", "api-1", NOW)
    desired.restore(5, {}, Latches(), complete=False)
    assert desired.behind
    assert not desired.hear(message("delta", 6, patch(2)), NOW)
    assert desired.hear(message("snapshot", 5, patch(1)), NOW)
    assert set(desired.patches) == {1}


def test_windows_selectors_and_cohorts(desired: Desired) -> None:
    patches = [
        patch(1, end=NOW),
        patch(2, start=NOW, end=NOW + 1),
        patch(3, start=NOW + 1),
        patch(4, selector=">=3"),
        patch(5, admit_below=0),
        patch(6, expires=NOW),
    ]
    desired.hear(message("snapshot", 6, *patches), NOW)
    assert [one.id for one in desired.wanted(NOW)] == [2]
    assert desired.next_edge(NOW) == NOW + 1
    assert [one.id for one in desired.wanted(NOW + 1)] == [3]
    assert [one.id for one in patches if desired.mine(one)] == [1, 2, 3, 6]


def test_what_began_and_what_is_over_outlives_a_clock_that_is_set(desired: Desired) -> None:
    desired.hear(message("snapshot", 6, patch(1, end=NOW + 9), patch(2, start=NOW, end=NOW + 5)), NOW)
    assert [one.id for one in desired.wanted(NOW)] == [1, 2]
    assert [one.id for one in desired.wanted(NOW + 6)] == [1]
    assert [one.id for one in desired.wanted(NOW - 10)] == [1]
    assert (desired.ended_early(NOW - 10), desired.ended_early(NOW + 6)) == ([2], [])


def test_a_wave_admits_later_and_takes_back_as_ever(desired: Desired) -> None:
    """Admission is no edge of a window: it may come and go, and a wrong clock uses nothing up before it came."""
    desired.hear(message("snapshot", 6, patch(1, end=NOW + 9, admit_below=0)), NOW)
    assert desired.wanted(NOW + 20) == []
    desired.hear(message("delta", 7, patch(1, end=NOW + 9)), NOW)
    assert [one.id for one in desired.wanted(NOW)] == [1]
    desired.hear(message("delta", 8, patch(1, end=NOW + 9, admit_below=0)), NOW)
    assert desired.wanted(NOW) == []
    desired.hear(message("delta", 9, patch(1, end=NOW + 9)), NOW)
    assert [one.id for one in desired.wanted(NOW)] == [1]


def test_what_the_stream_drops_is_forgotten(desired: Desired) -> None:
    desired.hear(message("snapshot", 6, patch(1), patch(2, end=NOW + 5)), NOW)
    desired.wanted(NOW)
    desired.wanted(NOW + 6)
    desired.hear(message("delta", 7, ended=(1, 2)), NOW)
    assert (desired.latches.begun, desired.latches.over) == (set(), set())


def test_a_clock_that_was_put_back_gives_no_credit() -> None:
    desired = Desired("API", "2.1.0", "api-1", NOW + 3600)
    assert not desired.stale(NOW)
    assert desired.stale(NOW + 31)


def test_the_journal_keeps_what_time_did(tmp_path: Path) -> None:
    store = JournalFile(str(tmp_path), "IACB", "API", "2.1.0")
    journal = Journal()
    ledger = Ledger(journal, store, Reporter({}), BaseCopy(str(tmp_path / "conf.yml")))
    journal.seen = Seen(NOW, 5.0, "boot")
    journal.latches.pass_through([patch(1), patch(2, end=NOW + 5)], NOW)
    journal.latches.pass_through([patch(1), patch(2, end=NOW + 5)], NOW + 6)
    ledger.settle(5.0)
    loaded = store.load(TRUST)[0]
    assert (loaded.latches.begun, loaded.latches.over, loaded.seen) == ({1}, {2}, Seen(NOW, 5.0, "boot"))
    journal.seen = Seen(NOW + 500, 505.0, "boot")
    ledger.settle(505.0)
    assert store.load(TRUST)[0].seen == Seen(NOW, 5.0, "boot"), "nothing happened: nothing is written"
    journal.seen = Seen(NOW + 601, 606.0, "boot")
    ledger.settle(606.0)
    assert store.load(TRUST)[0].seen == journal.seen, "but it does not grow old while a patch is in force"


def test_a_journal_from_before_there_were_latches(tmp_path: Path) -> None:
    store = JournalFile(str(tmp_path), "IACB", "API", "2.1.0")
    store.save(Journal())
    record = json.loads(Path(store.path).read_text())
    del record["time"]
    Path(store.path).write_text(json.dumps(record))
    journal, _, spoilt = store.load(TRUST)
    assert (journal.seen, journal.latches.begun, spoilt) == (None, set(), "")
