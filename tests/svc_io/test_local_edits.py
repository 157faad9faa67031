"""What people, editors and tools do to conf.yml, one table: the file, the base, the report, and what is kept aside.

The real agent on real files, on a clock moved by hand; the link is the simulated windows' fake.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hms_svc import conf_file
from hms_svc.agent import Agent
from hms_svc.base_copy import BaseCopy
from hms_svc.candidate import Candidate
from hms_svc.clock import Clock
from hms_svc.errand import Bell
from hms_svc.journal import Imprint, Journal
from hms_svc.keyring import open_keyring
from hms_svc.ledger import Ledger
from hms_svc.old_file import OldFile
from hms_svc.pace import Pace
from hms_svc.rejected import KEPT, NAME

from .rig import CONF
from .test_simulated_windows import FakeLink, SimulatedControl, Window, let_go, settings_in

NOON = 1_790_000_000.0
CHANGED = CONF.replace("50 ", "200 ")
MINE = CHANGED.replace("300", "350")
AFTER = CONF.replace("300", "350")
NOBODY = 65534


class Desk:
    """One agent beside one conf.yml."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.now = NOON
        self.control = SimulatedControl()
        self.settings = settings_in(directory, self.control)
        self.conf = directory / "conf.yml"
        self.conf.write_text(CONF)
        self.link = FakeLink()
        self.effective = 0
        self.start()

    def start(self) -> None:
        self.bell = Bell()
        clock = Clock(lambda: self.now - NOON + 1000.0, lambda: self.now)
        ring = open_keyring(self.settings, self.now)
        self.agent = Agent(self.settings, ring, self.bell, self.link, clock)  # type: ignore[arg-type] # the fake

    def stop(self) -> None:
        let_go(self.agent, self.bell)

    def put(self, patch_id: int, changes: dict[str, Any], seconds: float = 1e6) -> None:
        window = Window(patch_id, changes, 0, NOON - 1, self.now + seconds, NOON, 1e12)
        self.link.waiting.append(self.control.message([window], [], self.now))
        self.link.copy = self.control.copy(self.now)

    def hear(self, *raw: bytes) -> None:
        self.link.waiting += raw

    def end(self, *ids: int) -> None:
        self.link.waiting.append(self.control.message([], list(ids), self.now))
        self.link.copy = self.control.copy(self.now)

    def settle(self, seconds: float = 2.5, each: Callable[[], None] = lambda: None) -> "Desk":
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            each()
            self.agent._turn()
            self.agent._answer()
            self.now += min(0.05, max(0.001, self.agent._next_wake(self.agent._due())))
        return self

    def look(self) -> None:
        """A turn with a look at the files, without any time passing."""
        self.agent._watch.next_look = 0.0
        self.agent._turn()

    @property
    def drift(self) -> list[str]:
        return list(self.agent._state().drift)

    @property
    def trouble(self) -> str:
        return self.agent._state().trouble

    def kept(self, number: int = 0) -> bytes:
        return (self.directory / "state" / (f"{NAME}.{number}" if number else NAME)).read_bytes()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path / "desk")
    made.settle()
    made.put(1, {"rate_limit_rps": 200})
    made.settle()
    assert made.conf.read_text() == CHANGED
    yield made
    made.stop()


# --- how an edit is saved


def in_place(conf: Path) -> None:
    conf.write_text(MINE)


def in_two_writes(conf: Path) -> None:
    with conf.open("w") as file:
        file.write(MINE[:40])
        file.flush()
        file.write(MINE[40:])


def by_rename(conf: Path) -> None:
    """As vim (backupcopy=no), sed -i and most tools do."""
    new = conf.with_name("4913")
    new.write_text(MINE)
    new.rename(conf)


def by_backup(conf: Path) -> None:
    """As emacs and vim (writebackup) do: the old one moves away, a new one comes."""
    conf.rename(conf.with_name("conf.yml~"))
    conf.write_text(MINE)


def then_chmod(conf: Path) -> None:
    conf.write_text(MINE)
    conf.chmod(0o600)


def by_sed(conf: Path) -> None:
    subprocess.run(["sed", "-i", "s/300/350/", str(conf)], check=True)


def by_copy(conf: Path) -> None:
    other = conf.with_name("other")
    other.write_text(MINE)
    subprocess.run(["cp", str(other), str(conf)], check=True)


def with_its_time_set_back(conf: Path) -> None:
    """The same size, and the old time of change."""
    before = conf.stat()
    conf.write_text(MINE)
    os.utime(conf, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (conf.stat().st_mtime_ns, conf.stat().st_size) == (before.st_mtime_ns, before.st_size)


def in_place_of_a_link(conf: Path) -> None:
    elsewhere = conf.with_name("elsewhere.yml")
    elsewhere.write_text(MINE)
    conf.unlink()
    conf.symlink_to(elsewhere)


STYLES = [
    in_place,
    in_two_writes,
    by_rename,
    by_backup,
    then_chmod,
    by_sed,
    by_copy,
    with_its_time_set_back,
    in_place_of_a_link,
]


@pytest.mark.parametrize("save", STYLES)
@pytest.mark.parametrize("dead", [False, True], ids=["running", "dead"])
def test_however_it_is_saved_an_edit_joins_the_base(
    desk: Desk,
    save: Callable[[Path], None],
    dead: bool,  # noqa: FBT001 - a parameter
) -> None:
    if dead:
        desk.stop()
    save(desk.conf)
    if dead:
        desk.start()
    desk.settle()
    assert desk.conf.read_text() == MINE
    assert desk.drift == ["upstream.timeout_ms"]
    desk.end(1)
    desk.settle()
    assert desk.conf.read_text() == AFTER
    assert desk.trouble == ""


# --- what is in it: (the text that is left, what the file becomes, what it is after the patch, the drift that is told)

CONTENTS = {
    "a patched key": (CHANGED.replace("200", "7"), CHANGED, CONF, ["rate_limit_rps"]),
    "both": (MINE.replace("200", "7"), MINE, AFTER, ["rate_limit_rps", "upstream.timeout_ms"]),
    "the patched key taken out": (
        CHANGED.replace("rate_limit_rps: 200   # requests per second and address\n", ""),
        None,
        None,
        ["rate_limit_rps"],
    ),
    "a key taken out": (
        CHANGED.replace('greeting: "hello"    # quoted on purpose\n', ""),
        CHANGED.replace('greeting: "hello"    # quoted on purpose\n', ""),
        CONF.replace('greeting: "hello"    # quoted on purpose\n', ""),
        ["greeting"],
    ),
    "a key added": (f"{CHANGED}more: 1 # mine\n", f"{CHANGED}more: 1 # mine\n", f"{CONF}more: 1 # mine\n", ["more"]),
    "only a comment": (f"# hello\n{CHANGED}", f"# hello\n{CHANGED}", f"# hello\n{CONF}", []),
    "other line ends": (
        MINE.replace("\n", "\r\n"),
        MINE.replace("\n", "\r\n"),
        AFTER.replace("\n", "\r\n"),
        ["upstream.timeout_ms"],
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_an_edit_says_is_kept_where_no_patch_rules(desk: Desk, name: str) -> None:
    text, file, after, drift = CONTENTS[name]
    desk.conf.write_bytes(text.encode())
    desk.settle()
    assert desk.drift == drift
    if file is not None:
        assert desk.conf.read_bytes() == file.encode()
    assert yaml.safe_load(desk.conf.read_text())["rate_limit_rps"] == 200
    if "rate_limit_rps" in drift:
        assert desk.kept() == text.encode(), "what was taken back is kept aside"
    desk.end(1)
    desk.settle()
    if after is not None:
        assert desk.conf.read_bytes() == after.encode()
    assert yaml.safe_load(desk.conf.read_text())["rate_limit_rps"] == 50


def test_a_key_inside_what_a_patch_brought_stays_after_it(desk: Desk) -> None:
    desk.put(2, {"cache": {"size": 10}})
    desk.settle()
    found = yaml.safe_load(desk.conf.read_text())
    found["cache"]["ttl"] = 5
    desk.conf.write_text(yaml.safe_dump(found))
    desk.settle()
    assert desk.drift == ["cache.ttl"]
    desk.end(2)
    desk.settle()
    assert yaml.safe_load(desk.conf.read_text())["cache"] == {"ttl": 5}


# --- what cannot join the base

BROKEN = {
    "no YAML": b"rate_limit_rps: [\n",
    "a list": b"- a\n- b\n",
    "NUL bytes": b"a: 1\n\0\0\0b: 2\n",
    "no UTF-8": b"\xff\xfea: 1\n",
    "5 MB": b"# " + b"x" * 5_000_000 + b"\na: 1\n",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_join_the_base_is_kept_aside(desk: Desk, name: str) -> None:
    desk.conf.write_bytes(BROKEN[name])
    desk.settle()
    assert desk.conf.read_text() == CHANGED
    assert desk.drift == ["(unreadable edit)"]
    assert desk.kept() == BROKEN[name]
    desk.end(1)
    desk.settle()
    assert desk.conf.read_text() == CONF
    desk.settle(70)
    assert desk.drift == [], "told for a minute"


def test_the_last_three_are_kept_and_the_same_only_once(desk: Desk) -> None:
    for number in (1, 2, 2, 3, 4, 4):
        desk.conf.write_text(f"broken {number}: [\n")
        desk.settle()
    assert [desk.kept(place) for place in range(KEPT)] == [f"broken {number}: [\n".encode() for number in (4, 3, 2)]
    assert len(list((desk.directory / "state").glob(f"{NAME}*"))) == KEPT


# --- what is no edit


def touched(conf: Path) -> None:
    conf.touch()


def written_as_it_was(conf: Path) -> None:
    text = conf.read_text()
    conf.unlink()
    conf.write_text(text)


def linked(conf: Path) -> None:
    conf.with_name("second name").hardlink_to(conf)


def owned(conf: Path) -> None:
    os.chown(conf, NOBODY if os.geteuid() == 0 else -1, -1)
    conf.chmod(0o640)


def closed(conf: Path) -> None:
    conf.chmod(0)


@pytest.mark.parametrize("act", [touched, written_as_it_was, linked, owned, closed])
def test_what_changes_no_word_is_no_edit(desk: Desk, act: Callable[[Path], None]) -> None:
    act(desk.conf)
    before = desk.conf.stat()
    effect = desk.agent._applier.effective
    desk.settle()
    if os.geteuid() == 0:  # another user cannot read a closed file, and has it written anew
        after = desk.conf.stat()
        assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns), "nothing was written"
        assert desk.agent._applier.effective is effect, "and nothing tried"
        assert desk.drift == []
    desk.end(1)
    desk.settle()
    after = desk.conf.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    desk.conf.chmod(0o600)
    assert desk.conf.read_text() == CONF


def test_a_second_name_keeps_what_it_had(desk: Desk) -> None:
    linked(desk.conf)
    desk.end(1)
    desk.settle()
    assert desk.conf.read_text() == CONF
    assert desk.conf.with_name("second name").read_text() == CHANGED


# --- what stands where a file should


def test_a_pipe_blocks_nothing_and_is_replaced(desk: Desk) -> None:
    desk.conf.unlink()
    os.mkfifo(desk.conf)
    desk.settle()
    assert desk.conf.is_file()
    assert desk.conf.read_text() == CHANGED


def test_what_stands_in_a_pipe_is_nobodys_configuration(desk: Desk) -> None:
    desk.conf.unlink()
    os.mkfifo(desk.conf)
    writer = os.open(desk.conf, os.O_RDWR)
    os.write(writer, b"a: 1\n")
    with pytest.raises(OSError, match="is not a regular file"):
        conf_file.read_text(str(desk.conf))
    desk.settle()
    os.close(writer)
    assert desk.conf.read_text() == CHANGED
    assert desk.drift == ["(unreadable edit)"]


def test_a_device_behind_a_link_is_left_alone_and_told_of(desk: Desk) -> None:
    device = desk.directory / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this user makes no devices")
    desk.conf.unlink()
    desk.conf.symlink_to(device)
    desk.settle()
    assert device.is_char_device()
    assert "is not a regular file" in desk.trouble
    desk.conf.unlink()
    desk.settle(40)
    assert (desk.conf.read_text(), desk.trouble) == (CHANGED, "")


def test_a_directory_is_left_alone_and_told_of(desk: Desk) -> None:
    desk.conf.unlink()
    desk.conf.mkdir()
    (desk.conf / "precious").write_text("x")
    desk.settle()
    assert str(desk.conf) in desk.trouble
    assert (desk.conf / "precious").read_text() == "x"
    shutil.rmtree(desk.conf)
    desk.settle(40)
    assert desk.conf.read_text() == CHANGED
    assert desk.trouble == ""


def test_a_deleted_file_and_a_deleted_directory_come_back(desk: Desk) -> None:
    desk.conf.unlink()
    desk.settle()
    assert desk.conf.read_text() == CHANGED


# --- a ConfigMap's links: conf.yml -> ..data/conf.yml, ..data -> ..2026_1, and a swap of ..data


def config_map(directory: Path, name: str, text: str) -> None:
    place = directory / name
    place.mkdir()
    (place / "conf.yml").write_text(text)
    (directory / "..data_tmp").symlink_to(name)
    (directory / "..data_tmp").rename(directory / "..data")


def test_a_config_maps_swap_is_an_edit_and_its_links_stay(desk: Desk) -> None:
    desk.conf.unlink()
    config_map(desk.directory, "..2026_1", CONF)
    desk.conf.symlink_to("..data/conf.yml")
    desk.settle()
    assert desk.conf.read_text() == CHANGED
    config_map(desk.directory, "..2026_2", AFTER)
    desk.settle()
    assert desk.conf.read_text() == MINE
    assert (desk.directory / "..2026_2" / "conf.yml").read_text() == MINE
    assert desk.drift == ["rate_limit_rps", "upstream.timeout_ms"]
    assert str(desk.conf.readlink()) == "..data/conf.yml"
    assert str((desk.directory / "..data").readlink()) == "..2026_2"
    desk.end(1)
    desk.settle()
    assert desk.conf.read_text() == AFTER


def test_after_a_config_maps_old_directory_is_gone_patches_come_go_and_survive_a_lost_journal(desk: Desk) -> None:
    desk.conf.unlink()
    config_map(desk.directory, "..2026_1", CONF)
    desk.conf.symlink_to("..data/conf.yml")
    desk.settle()
    config_map(desk.directory, "..2026_2", AFTER)
    shutil.rmtree(desk.directory / "..2026_1")
    desk.settle()
    assert desk.conf.read_text() == MINE
    desk.put(2, {"upstream": {"timeout_ms": 7}})
    desk.settle()
    assert (desk.trouble, "timeout_ms: 7" in desk.conf.read_text()) == ("", True)
    assert (desk.directory / "..2026_2" / ".conf.yml.hms-base").exists()
    desk.stop()
    (Path(desk.settings.state) / "journal.json").unlink()
    desk.start()
    desk.end(1, 2)
    desk.settle()
    assert desk.conf.read_text() == AFTER


def test_the_copy_of_the_base_in_a_directory_that_comes_back_is_not_taken_for_ours(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yml"
    config_map(tmp_path, "..2026_1", CONF)
    conf.symlink_to("..data/conf.yml")
    beside, journal = BaseCopy(str(conf)), Journal()
    for base, name in (("a: 1\n", ""), ("a: 2\n", "..2026_2"), ("a: 3\n", "..2026_1")):
        if name == "..2026_2":
            config_map(tmp_path, name, AFTER)
        elif name:
            (tmp_path / "..data").unlink()
            (tmp_path / "..data").symlink_to(name)
        journal.base = journal.origin = base
        for change in (8, 9):
            journal.writing = Imprint(f"sha of {base}{change}", {"a": change}, (1,))
            beside.keep(journal)
        copy = beside.read()
        assert copy
        assert (copy.base, [imprint.overlay for imprint in copy.imprints]) == (base, [{"a": 8}, {"a": 9}])


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere; somebody else may not."""
    if os.geteuid() != 0:
        yield
        return
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that another user reaches: pytest's are closed."""
    path = Path(tempfile.mkdtemp())
    path.chmod(0o777)
    yield path
    shutil.rmtree(path)


def test_a_read_only_config_map_is_told_of_and_breaks_nothing(open_directory: Path) -> None:
    volume = open_directory / "volume"
    volume.mkdir()
    config_map(volume, "..2026_1", CONF)
    for path in (volume, volume / "..2026_1"):
        path.chmod(0o555)
    with as_nobody():
        desk = Desk(open_directory / "desk")
        desk.conf.unlink()
        desk.conf.symlink_to(volume / "..data" / "conf.yml")
        desk.settle()
        desk.put(1, {"rate_limit_rps": 200})
        desk.settle()
        assert "Permission denied" in desk.trouble
        assert str(volume) in desk.trouble
        assert desk.conf.read_text() == CONF
        desk.stop()


def test_a_file_that_may_not_be_read_holds_no_window_open(open_directory: Path) -> None:
    with as_nobody():
        desk = Desk(open_directory / "desk")
        desk.settle()
        desk.put(1, {"rate_limit_rps": 200}, seconds=5)
        desk.settle()
        desk.conf.chmod(0)
        desk.settle(4)
        assert desk.conf.stat().st_mode & 0o777 == 0
        desk.stop()
    desk.conf.chmod(0o644)
    assert desk.conf.read_text() == CONF


# --- while we write


def test_an_edit_between_our_last_look_and_our_rename_is_not_lost(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, left = conf_file.put_in_place, [1]

    def late(temp: str, target: str) -> None:
        if target == str(desk.conf) and left:
            left.pop()
            desk.conf.write_text(desk.conf.read_text().replace("300", "350"))
        rename(temp, target)

    monkeypatch.setattr("hms_svc.staging.put_in_place", late)
    desk.put(2, {"added": 1})
    desk.settle()
    assert not left
    assert desk.conf.read_text() == f"{MINE}added: 1\n"
    desk.end(1, 2)
    desk.settle()
    assert desk.conf.read_text() == AFTER
    assert desk.drift == ["upstream.timeout_ms"]


def edited_before_the_intent(desk: Desk, monkeypatch: pytest.MonkeyPatch, save: Callable[[str], object]) -> list[int]:
    """Have somebody save an edit just as an attempt is about to write down what it will do; empty once that was so."""
    intend, left = Ledger.intend, [1]

    def late(ledger: Ledger, candidate: Candidate) -> None:
        if left:
            left.pop()
            save(desk.conf.read_text().replace("300", "350"))
        intend(ledger, candidate)

    monkeypatch.setattr(Ledger, "intend", late)
    return left


def renamed_over(desk: Desk) -> Callable[[str], object]:
    other = desk.directory / "4913"
    return lambda text: (other.write_text(text), other.rename(desk.conf))


@pytest.mark.parametrize("way", [lambda desk: desk.conf.write_text, renamed_over], ids=["in place", "by rename"])
def test_an_edit_just_before_a_patch_is_written_is_never_out_of_the_file(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, way: Callable[[Desk], Callable[[str], object]]
) -> None:
    left = edited_before_the_intent(desk, monkeypatch, way(desk))
    seen = []
    desk.put(2, {"added": 1})
    desk.settle(each=lambda: seen.append((bool(left), "350" in desk.conf.read_text())))
    assert set(seen) == {(True, False), (False, True)}
    assert desk.conf.read_text() == f"{MINE}added: 1\n"
    desk.end(1, 2)
    desk.settle()
    assert desk.conf.read_text() == AFTER


@pytest.mark.parametrize("way", [lambda desk: desk.conf.write_text, renamed_over], ids=["in place", "by rename"])
def test_an_edit_that_there_was_no_time_to_read_joins_after_our_rename(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, way: Callable[[Desk], Callable[[str], object]]
) -> None:
    left = edited_before_the_intent(desk, monkeypatch, way(desk))
    monkeypatch.setattr(Pace, "may_wait", lambda *_: False)
    desk.put(2, {"added": 1})
    desk.settle()
    assert not left
    assert desk.conf.read_text() == f"{MINE}added: 1\n"
    assert desk.drift == ["upstream.timeout_ms"]
    desk.end(1, 2)
    desk.settle()
    assert desk.conf.read_text() == AFTER


def test_a_file_that_was_only_touched_in_that_moment_is_no_edit(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    left = edited_before_the_intent(desk, monkeypatch, lambda _: desk.conf.touch())
    monkeypatch.setattr(Pace, "may_wait", lambda *_: False)
    capfd.readouterr()
    desk.put(2, {"added": 1})
    desk.settle()
    assert not left
    assert desk.conf.read_text() == f"{CHANGED}added: 1\n"
    assert '"event": "drift"' not in "".join(capfd.readouterr())


def test_an_edit_of_a_key_while_a_patch_for_it_is_checked_is_a_persons_value(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.end(1)
    desk.settle()
    other = desk.directory / "4913"

    def save(_: str) -> None:
        other.write_text(CONF.replace("50 ", "70 "))
        other.rename(desk.conf)

    left = edited_before_the_intent(desk, monkeypatch, save)
    desk.put(2, {"rate_limit_rps": 200})
    desk.settle()
    assert not left
    assert desk.conf.read_text() == CHANGED
    desk.end(2)
    desk.settle()
    assert desk.conf.read_text() == CONF.replace("50 ", "70 ")


def test_an_unreadable_edit_in_that_moment_is_kept_aside(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, left = conf_file.put_in_place, [1]

    def late(temp: str, target: str) -> None:
        if target == str(desk.conf) and left:
            left.pop()
            desk.conf.write_text("oops: [\n")
        rename(temp, target)

    monkeypatch.setattr("hms_svc.staging.put_in_place", late)
    desk.end(1)
    desk.settle()
    assert desk.conf.read_text() == CONF
    assert desk.kept() == b"oops: [\n"


def test_a_writer_who_goes_on_with_the_file_we_replaced_is_heard(desk: Desk) -> None:
    """It was opened before our rename, and written to after it, in two pieces."""
    with desk.conf.open("r+") as file:
        desk.put(2, {"added": 1})
        desk.settle(0.4)
        assert "added: 1" in desk.conf.read_text()
        file.truncate(0)
        file.write(MINE[:40])
        file.flush()
        desk.look()
        assert desk.agent._journal.base == CONF, "not before they are done"
        file.write(MINE[40:])
        file.flush()
        desk.settle()
    assert desk.conf.read_text() == f"{MINE}added: 1\n"
    assert desk.drift == ["upstream.timeout_ms"]
    desk.end(1, 2)
    desk.settle()
    assert desk.conf.read_text() == AFTER


def test_a_writer_who_only_emptied_the_file_we_replaced_takes_nothing(desk: Desk) -> None:
    with desk.conf.open("r+") as file:
        desk.put(2, {"added": 1})
        desk.settle(0.4)
        file.truncate(0)
        desk.settle()
    assert desk.conf.read_text() == f"{CHANGED}added: 1\n"
    assert desk.agent._journal.base == CONF


def test_a_file_that_is_still_written_to_is_not_let_go_for_the_next(tmp_path: Path) -> None:
    conf = tmp_path / "conf.yml"
    conf.write_text("a: 1\n")
    gap = OldFile(str(conf))
    mine, next_one = Imprint("", {"a": 1}, (1,)), Imprint("", {"b": 2}, (2,))
    gap.open(mine)
    with conf.open("r+") as file:
        conf.unlink()
        conf.write_text("ours: 1\n")
        gap.placed()
        file.write("theirs: 1\n")
    gap.open(next_one)
    assert (gap.stirred, gap.made, gap.take()) == (True, mine, b"theirs: 1\n")
    assert not gap.stirred


def test_an_edit_right_after_our_rename_is_not_taken_for_ours(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, left = conf_file.put_in_place, [1]

    def early(temp: str, target: str) -> None:
        rename(temp, target)
        if target == str(desk.conf) and left:
            left.pop()
            desk.conf.write_text(desk.conf.read_text().replace("300", "350"))

    monkeypatch.setattr("hms_svc.staging.put_in_place", early)
    desk.put(2, {"added": 1})
    desk.settle()
    desk.end(1, 2)
    desk.settle()
    assert desk.conf.read_text() == AFTER


def test_somebody_who_writes_all_the_time_holds_no_window_open(desk: Desk) -> None:
    desk.put(2, {"rate_limit_rps": 300}, seconds=2.0)
    desk.settle(1)
    end, count, gone = desk.now + 1.0, 0, 0.0

    def write() -> None:
        nonlocal count, gone
        count += 1
        found = yaml.safe_load(desk.conf.read_text())
        if found["rate_limit_rps"] == 200 and desk.now >= end and not gone:
            gone = desk.now
        found["counter"] = count
        desk.conf.write_text(yaml.safe_dump(found))

    desk.settle(5, write)
    assert 0 < gone - end <= 1.0
    desk.settle()
    assert yaml.safe_load(desk.conf.read_text()) == {**yaml.safe_load(CHANGED), "counter": count}


def test_a_file_caught_in_the_middle_of_being_written_takes_nothing_from_the_base(desk: Desk) -> None:
    with desk.conf.open("w") as file:
        file.write(MINE[:100])
        file.flush()
        desk.look()
        assert desk.agent._journal.base == CONF, "not before they are done"
        file.write(MINE[100:])
    desk.settle()
    assert desk.conf.read_text() == MINE
    assert desk.drift == ["upstream.timeout_ms"]
