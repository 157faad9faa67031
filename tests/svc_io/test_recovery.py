"""The journal, the copy of the base, or both are lost or spoilt: no patch's value becomes the base while a file on disk
knows better, and where none does, that is said.
"""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_svc.candidate import mapping
from hms_svc.recovery import ALIKE, LOST, OLDER, TORN
from hms_svc.settings import Settings
from hms_svc.trust import Trust
from hms_svc.wire import Pins

from .bench import Bench
from .makers import Hands, patch

Configure = Callable[..., Settings]

BASE = "a: 1\nb: 1\n"
PATCHED = "a: 7\nb: 1\nc: 9\n"
IN_FORCE = [patch(7, {"a": 7}), patch(9, {"c": 9})]


def copy_of(bench: Bench) -> Path:
    return bench.conf.with_name(".conf.yml.hms-base")


def journal_of(bench: Bench) -> Path:
    return Path(bench.store.path)


@pytest.fixture
def baked(configure: Configure, hands: Hands) -> Bench:
    """An agent whose base proved itself, and then the two patches in conf.yml."""
    bench = Bench(configure(HMS_BAKE="2"), hands)
    bench.conf.write_text(BASE)
    bench.pass_time([], 4)
    assert bench.pass_time(IN_FORCE, 4) == PATCHED
    return bench


def keep(_: Path) -> None: ...


def lose(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_text("")


def zero(path: Path) -> None:
    path.write_bytes(b"\0" * path.stat().st_size)


def tear(path: Path) -> None:
    """All but the last tenth, as a disk leaves it that never heard of syncs."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 9 // 10])


def rot(path: Path) -> None:
    """A byte that is no letter, in the last line."""
    raw = path.read_bytes()
    path.write_bytes(raw[:-20] + b"\xff" + raw[-19:])


def outgrow(path: Path) -> None:
    """As a later release may have written it."""
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"format": 2}))


def not_at_all(text: str) -> str:
    return text


def elsewhere(text: str) -> str:
    return text.replace("b: 1", "b: 2")


def under_a_patch(text: str) -> str:
    return text.replace("a: 7", "a: 5")


LEFT: dict[Callable[[str], str], list[dict[str, int]]] = {
    not_at_all: [{"a": 1, "b": 1}],
    elsewhere: [{"a": 1, "b": 2}],
    under_a_patch: [{"a": 1, "b": 1}, {"a": 5, "b": 1}],
}
"""What may be left when the patches are gone. Who edits a patched key after a loss may have it, or the base's value."""


@pytest.mark.parametrize("in_force", [True, False], ids=["in force", "ended"])
@pytest.mark.parametrize("edit", LEFT)
@pytest.mark.parametrize(
    ("journal", "copy", "good"),
    [
        (keep, lose, keep),
        (keep, zero, keep),
        (lose, keep, lose),
        (empty, keep, keep),
        (zero, keep, keep),
        (tear, keep, lose),
        (tear, lose, lose),
        (tear, zero, lose),
        (rot, lose, lose),
        (outgrow, lose, lose),
        (lose, lose, keep),
        (zero, lose, keep),
        (lose, zero, keep),
        (zero, empty, keep),
    ],
)
def test_a_patch_goes_with_its_end_while_any_file_knows_the_base(  # noqa: PLR0913, PLR0917 - a table
    baked: Bench,
    capfd: pytest.CaptureFixture[str],
    journal: Callable[[Path], None],
    copy: Callable[[Path], None],
    good: Callable[[Path], None],
    edit: Callable[[str], str],
    in_force: bool,  # noqa: FBT001 - a parameter
) -> None:
    journal(journal_of(baked))
    copy(copy_of(baked))
    good(Path(baked.store.good_path))
    baked.conf.write_text(edit(PATCHED))
    again = baked.again()
    if in_force:
        again.pass_time(IN_FORCE, 4)
        assert mapping(again.conf.read_text()) == mapping(edit(PATCHED)) | {"a": 7}
    assert mapping(again.pass_time([], 4)) in LEFT[edit]
    third = again.again()
    assert mapping(third.pass_time([], 4)) in LEFT[edit], "and so it stays"
    if journal is not keep:
        assert '"base_recovered"' in capfd.readouterr().err
    assert third.applier.trouble() in ("", OLDER)


@pytest.mark.parametrize("in_force", [True, False], ids=["in force", "ended"])
@pytest.mark.parametrize(
    ("journal", "copy", "good"), [(zero, lose, lose), (lose, zero, lose), (zero, empty, lose), (empty, zero, zero)]
)
def test_where_no_file_knows_it_that_is_said_and_stays_said(
    baked: Bench,
    journal: Callable[[Path], None],
    copy: Callable[[Path], None],
    good: Callable[[Path], None],
    in_force: bool,  # noqa: FBT001 - a parameter
) -> None:
    journal(journal_of(baked))
    copy(copy_of(baked))
    good(Path(baked.store.good_path))
    again = baked.again().again()  # killed before it did anything
    again.pass_time(IN_FORCE if in_force else [], 4)
    assert again.applier.trouble() == LOST
    third = again.again()
    third.pass_time([patch(8, {"b": 8})], 4)
    journal_of(again).unlink()
    fourth = third.again()
    fourth.pass_time([], 4)
    assert fourth.applier.trouble() == LOST, "the copy knows it as well"
    fourth.conf.write_text(BASE)
    fourth.pass_time([], 4)
    assert fourth.applier.trouble() == ""


def test_a_copy_nobody_can_read_is_kept_aside(baked: Bench) -> None:
    lose(journal_of(baked))
    zero(copy_of(baked))
    spoilt = copy_of(baked).read_bytes()
    baked.again().pass_time([patch(8, {"b": 8})], 4)
    assert copy_of(baked).with_name(".conf.yml.hms-base.unreadable").read_bytes() == spoilt
    assert b"b: 1" in copy_of(baked).read_bytes()


@pytest.mark.parametrize("spoil", [tear, rot])
def test_what_nobody_can_tell_from_a_patch_is_kept_aside(baked: Bench, spoil: Callable[[Path], None]) -> None:
    """The base is known, and what was made of it is not."""
    lose(journal_of(baked))
    spoil(copy_of(baked))
    baked.conf.write_text(elsewhere(PATCHED))
    again = baked.again()
    assert again.pass_time([], 4) == BASE
    assert again.applier.trouble() == TORN
    assert (Path(again.settings.state) / "rejected-conf.yml").read_text() == elsewhere(PATCHED)


def test_a_journal_torn_behind_the_base_still_says_the_base(baked: Bench) -> None:
    raw = journal_of(baked).read_bytes()
    journal_of(baked).write_bytes(raw[: raw.index(b'"written"') + 15])
    lose(copy_of(baked))
    baked.conf.write_text(elsewhere(PATCHED))
    again = baked.again()
    assert again.pass_time([], 1) == BASE
    assert again.applier.trouble() == TORN


def test_a_knob_with_the_name_of_a_field_of_the_journal_misleads_nobody(baked: Bench) -> None:
    baked.pass_time([patch(7, {"writing": 7})], 1)
    raw = journal_of(baked).read_bytes()
    journal_of(baked).write_bytes(raw[:-20])
    lose(copy_of(baked))
    lose(Path(baked.store.good_path))
    again = baked.again()
    assert again.pass_time([], 1) == BASE
    assert again.applier.trouble() == ""


def test_a_torn_line_does_not_take_the_next_along(baked: Bench) -> None:
    tear(copy_of(baked))
    again = baked.again()
    assert again.pass_time([patch(8, {"b": 8})], 1) == "a: 1\nb: 8\n"
    lose(journal_of(baked))
    lose(Path(baked.store.good_path))
    third = again.again()
    assert third.pass_time([], 1) == BASE
    assert third.applier.trouble() == ""


def test_an_edit_made_on_a_volume_of_another_moment(baked: Bench) -> None:
    """The journal is restored from before the patches, and conf.yml was edited since."""
    bench = baked
    bench.pass_time([], 1)
    kept = journal_of(bench).read_bytes()
    bench.pass_time(IN_FORCE, 1)
    journal_of(bench).write_bytes(kept)
    bench.conf.write_text(elsewhere(PATCHED))
    again = bench.again()
    assert mapping(again.pass_time([], 1)) == {"a": 1, "b": 2}


def test_an_edit_from_between_two_proofs_is_in_the_base(baked: Bench) -> None:
    """The base as it proved itself is older than the files that did so with patches in them."""
    baked.conf.write_text(elsewhere(PATCHED))
    assert baked.pass_time(IN_FORCE, 4) == elsewhere(PATCHED)
    lose(journal_of(baked))
    lose(copy_of(baked))
    again = baked.again()
    assert mapping(again.pass_time([], 1)) == {"a": 1, "b": 2}
    assert again.applier.trouble() == ""


def test_a_base_that_may_be_older_than_it_was_is_in_doubt(baked: Bench) -> None:
    lose(journal_of(baked))
    lose(copy_of(baked))
    baked.conf.write_text(elsewhere(PATCHED))
    again = baked.again()
    again.pass_time([], 1)
    assert again.applier.trouble() == OLDER


def test_an_emptied_conf_yml_holds_nothing_that_could_be_lost(baked: Bench) -> None:
    lose(journal_of(baked))
    head = copy_of(baked).read_text().splitlines()[0]
    copy_of(baked).write_text(f'{head}\n["torn')
    baked.conf.write_text("")
    again = baked.again()
    assert again.pass_time([], 1) == BASE
    assert again.applier.trouble() == ""


def test_a_file_that_never_came_to_be_hides_no_patch_of_the_one_before(baked: Bench) -> None:
    """Killed before the ending's rename; then somebody edited the file with both patches in it."""
    with copy_of(baked).open("a") as copy:
        copy.write(json.dumps(["0", {"c": 9}, [9]]) + "\n")
    lose(journal_of(baked))
    lose(Path(baked.store.good_path))
    baked.conf.write_text(elsewhere(PATCHED))
    assert mapping(baked.again().pass_time([], 1)) == {"a": 1, "b": 2}


def test_who_wants_for_ever_what_a_patch_gave_may_have_it(baked: Bench) -> None:
    """The journal and the copy are of one moment: an edit made while the agent was dead is an edit."""
    assert baked.pass_time([], 1) == BASE
    baked.conf.write_text("a: 7\nb: 1\n")
    assert baked.again().pass_time([], 1) == "a: 7\nb: 1\n"


@pytest.mark.parametrize("text", ["a: [", "- a\n", "\0"])
def test_a_spoilt_conf_yml_beside_old_good_files_stops_no_start(baked: Bench, text: str) -> None:
    lose(journal_of(baked))
    lose(copy_of(baked))
    baked.conf.write_text(text)
    again = baked.again()
    assert again.pass_time([], 1) == BASE
    assert again.applier.trouble() == OLDER
    assert (Path(again.settings.state) / "rejected-conf.yml").read_text() == text


def test_a_conf_yml_of_somebody_elses_beside_old_good_files(baked: Bench) -> None:
    """Nothing of ours is in it: it is the base, and that the journal and the copy are lost is said."""
    lose(journal_of(baked))
    lose(copy_of(baked))
    baked.conf.write_text("d: 4\n")
    again = baked.again()
    assert again.pass_time([], 1) == "d: 4\n"
    assert again.applier.trouble() == LOST


def test_files_that_worked_at_another_place_prove_nothing_here(baked: Bench) -> None:
    lose(journal_of(baked))
    lose(copy_of(baked))
    elsewhere_now = baked.conf.with_name("other.yml")
    elsewhere_now.write_text(PATCHED)
    again = Bench(baked.settings._replace(conf=str(elsewhere_now)), baked.hands)
    assert again.pass_time([], 1) == PATCHED
    assert again.applier.trouble() == ""


def test_a_lost_journal_with_no_patch_ever_in_the_file_is_no_loss(configure: Configure, hands: Hands) -> None:
    for number, spoil in enumerate((lose, zero, tear), 2):
        bench = Bench(configure(HMS_BAKE="1"), hands)
        bench.pass_time([], 3)
        spoil(journal_of(bench))
        bench.conf.write_text(f"a: {number}\n")
        again = bench.again()
        assert again.pass_time([], 1) == f"a: {number}\n"
        assert again.applier.trouble() == (LOST if spoil is zero else "")
        for path in (journal_of(bench), Path(bench.store.good_path)):
            path.unlink(missing_ok=True)


def test_an_unreadable_journal_stays_where_it_is_until_there_is_another(baked: Bench) -> None:
    """A kill right after the start must find again what this start found."""
    tear(journal_of(baked))
    lose(copy_of(baked))
    lose(Path(baked.store.good_path))
    torn = journal_of(baked).read_bytes()
    baked.again()
    assert journal_of(baked).read_bytes() == torn
    assert baked.again().pass_time([], 1) == BASE
    assert (Path(baked.settings.state) / "journal.unreadable").read_bytes() == torn


def test_an_unreadable_journal_that_cannot_be_kept_stops_no_start(
    baked: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    tear(journal_of(baked))
    with monkeypatch.context() as patched:
        patched.setattr(os, "link", full)
        patched.setattr(os, "replace", full)
        _, _, why = baked.store.load(Trust(Pins(()), Pins(())))
        again = baked.again()
    assert why.endswith("; not kept: No space left on device")
    assert again.pass_time([], 1) == BASE


def test_a_base_that_already_shows_what_the_patches_say_is_in_doubt(baked: Bench) -> None:
    for path in (journal_of(baked), copy_of(baked), Path(baked.store.good_path)):
        lose(path)
    again = baked.again()
    again.pass_time(IN_FORCE, 1)
    assert again.applier.trouble() == ALIKE
