"""Where a file really stands, how much of it is read, and how one that was replaced is kept from being deleted."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hms_svc import conf_file
from hms_svc.conf_file import CHUNK_BYTES, beside, directory_of, hold, let_go, read_raw, read_text, resolved

MOST = 1000

# --- links


def test_what_is_no_link_is_replaced_where_it_is_named(tmp_path: Path) -> None:
    plain, missing = tmp_path / "conf.yml", tmp_path / "missing.yml"
    plain.write_text("a: 1\n")
    assert resolved(str(plain)) == str(plain)
    assert resolved(str(missing)) == str(missing)


def test_behind_a_link_it_is_the_file_and_behind_two_as_well(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link, link_to_link = tmp_path / "real" / "conf.yml", tmp_path / "conf.yml", tmp_path / "again.yml"
    real.write_text("a: 1\n")
    link.symlink_to("real/conf.yml")
    link_to_link.symlink_to(link)
    assert resolved(str(link)) == resolved(str(link_to_link)) == str(real)
    conf_file.write_atomically(str(link_to_link), "a: 2\n")
    assert real.read_text() == "a: 2\n"
    assert (link.is_symlink(), link_to_link.is_symlink()) == (True, True)


def test_a_link_to_nothing_is_made_good(tmp_path: Path) -> None:
    link = tmp_path / "conf.yml"
    link.symlink_to("data.yml")
    assert resolved(str(link)) == f"{tmp_path}/data.yml"
    conf_file.write_atomically(str(link), "a: 1\n")
    assert (tmp_path / "data.yml").read_text() == "a: 1\n"
    assert link.is_symlink()


def test_links_in_a_circle_are_an_error_that_names_them_and_stay(tmp_path: Path) -> None:
    one, other = tmp_path / "one.yml", tmp_path / "other.yml"
    one.symlink_to(other)
    other.symlink_to(one)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        resolved(str(one))
    with pytest.raises(OSError, match=r"Too many levels of symbolic links: '.*o.*\.yml'"):
        conf_file.write_atomically(str(one), "a: 1\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.yml", "other.yml"]
    assert one.is_symlink()


def test_a_linked_directory_is_the_kernels_to_follow(tmp_path: Path) -> None:
    (tmp_path / "release-1").mkdir()
    current = tmp_path / "current"
    current.symlink_to("release-1")
    (tmp_path / "release-1" / "conf.yml").write_text("a: 1\n")
    path = str(current / "conf.yml")
    assert resolved(path) == path
    conf_file.write_atomically(path, "a: 2\n")
    assert (tmp_path / "release-1" / "conf.yml").read_text() == "a: 2\n"
    assert current.is_symlink()


def test_a_link_in_a_linked_directory_leads_from_where_it_really_stands(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "current").symlink_to("a/b")
    (tmp_path / "a" / "b" / "conf.yml").symlink_to("../data.yml")
    (tmp_path / "a" / "data.yml").write_text("a: 1\n")
    assert resolved(str(tmp_path / "current" / "conf.yml")) == f"{tmp_path}/a/data.yml"


def test_where_it_cannot_be_seen_whether_it_is_a_link_it_is_not_taken_for_none(tmp_path: Path) -> None:
    (tmp_path / "circle").symlink_to("circle")
    (tmp_path / "file").touch()
    for unseen in (f"{tmp_path}/circle/conf.yml", f"{tmp_path}/{'x' * 300}"):
        with pytest.raises(OSError, match=r"Too many levels|File name too long"):
            resolved(unseen)
    assert resolved(f"{tmp_path}/file/conf.yml") == f"{tmp_path}/file/conf.yml"


# --- names


@pytest.mark.parametrize(
    ("target", "hidden", "directory"),
    [
        ("/etc/service/conf.yml", "/etc/service/.conf.yml.hms-new", "/etc/service"),
        ("/conf.yml", "/.conf.yml.hms-new", "/"),
        ("/etc/.env", "/etc/..env.hms-new", "/etc"),
    ],
)
def test_a_file_and_its_neighbour(target: str, hidden: str, directory: str) -> None:
    assert beside(target, "hms-new") == hidden
    assert directory_of(target) == directory == directory_of(hidden)


# --- a file that outlives its name


def test_a_close_that_complains_has_closed_and_troubles_nobody(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    close = os.close

    def complaining(fd: int) -> None:
        close(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "close", complaining)
    assert let_go(hold(str(tmp_path))) == -1
    with pytest.raises(OSError, match=r"\[Errno 5\].*conf\.yml"):
        conf_file.write_atomically(str(tmp_path / "conf.yml"), "a: 1\n")
    assert list(tmp_path.iterdir()) == []


def test_a_replaced_file_that_is_held_is_deleted_when_it_is_let_go(tmp_path: Path) -> None:
    path = tmp_path / "journal.json"
    path.write_text("old")
    held = hold(str(path))
    assert not os.get_inheritable(held)
    conf_file.write_atomically(str(path), "new")
    assert os.fstat(held).st_nlink == 0
    assert Path(f"/proc/self/fd/{held}").read_text() == "old"
    assert let_go(held) == -1
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(held)
    assert path.read_text() == "new"


def test_where_there_is_none_nothing_is_held(tmp_path: Path) -> None:
    assert hold(str(tmp_path / "missing")) == -1
    assert let_go(-1) == -1


# --- how much is read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "conf.yml"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each read of a file brought. The reads are real."""
    brought: list[int] = []
    real = os.read

    def read(fd: int, count: int) -> bytes:
        data = real(fd, count)
        brought.append(len(data))
        return data

    monkeypatch.setattr(os, "read", read)
    return brought


@pytest.mark.parametrize("size", [0, 1, MOST - 1, MOST])
def test_a_file_that_is_not_too_long_is_read_at_once(path: Path, reads: list[int], size: int) -> None:
    path.write_bytes(b"x" * size)
    assert read_raw(str(path), MOST) == b"x" * size
    assert reads == [size]
    assert read_text(str(path), MOST) == "x" * size


@pytest.mark.parametrize("size", [MOST + 1, MOST + 2, MOST + CHUNK_BYTES * 3])
def test_of_a_file_that_is_too_long_enough_is_read_to_tell(path: Path, reads: list[int], size: int) -> None:
    path.write_bytes(b"x" * size)
    assert read_raw(str(path), MOST) == b"x" * (MOST + 1)
    assert reads == [MOST + 1]
    with pytest.raises(ValueError, match=f"is larger than {MOST} bytes"):
        read_text(str(path), MOST)


def changed_before_it_is_read(monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> None:
    """Have somebody write the file between the look at its size and the first read."""
    real = os.fstat

    def fstat(fd: int) -> os.stat_result:
        found = real(fd)
        change()
        return found

    monkeypatch.setattr(os, "fstat", fstat)


@pytest.mark.parametrize("before", ["", "a: 1\n"])
@pytest.mark.parametrize("more", ["b", "b: 2\n", "b: " + "2" * 500])
def test_a_file_that_grows_is_read_to_its_end(
    path: Path, monkeypatch: pytest.MonkeyPatch, before: str, more: str
) -> None:
    path.write_text(before)
    changed_before_it_is_read(monkeypatch, lambda: path.write_text(before + more))
    assert read_text(str(path), MOST) == before + more


def test_a_file_that_grows_too_long_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("a: 1\n")
    changed_before_it_is_read(monkeypatch, lambda: path.write_bytes(b"x" * (MOST + CHUNK_BYTES * 3)))
    assert MOST < len(read_raw(str(path), MOST)) <= MOST + CHUNK_BYTES
    with pytest.raises(ValueError, match="is larger"):
        read_text(str(path), MOST)


def test_a_file_that_shrinks_is_read_to_its_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text("a: 1\nb: 2\n")
    changed_before_it_is_read(monkeypatch, lambda: path.write_text("a: 1\n"))
    assert read_text(str(path), MOST) == "a: 1\n"


def test_a_file_whose_size_is_told_as_none_is_read_all_the_same() -> None:
    name = "/proc/self/mountinfo"
    assert Path(name).stat().st_size == 0
    whole = Path(name).read_bytes()
    assert len(whole) > 1
    assert read_raw(name) == whole
    assert read_raw(name, len(whole)) == whole
    assert len(read_raw(name, 1)) > 1
