"""Each operation on each file refused with each error: the right words, a good file, and all is well when it passes.

Three ways: calls of this process that are made to fail (the whole matrix, on a clock moved by hand), system calls of a
real agent that the kernel is made to refuse, and disks that are really full, read-only or mounted file by file. The
matrix takes one of the errors for each operation on each file; with HMS_THOROUGH=1 all.
"""

import errno
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hms_svc.conf_file import temp_name
from hms_svc.settings import Settings
from hms_svc.staging import Staged
from tests.conditions import THOROUGH, need

from .bench import Bench
from .makers import Hands
from .rig import CONF, Acks, Agent, Control, until
from .stub import Stub

Configure = Callable[..., Settings]

ERRORS = ("ENOSPC", "EIO", "EACCES", "EBUSY", "EROFS", "EDQUOT", "ENOMEM")
OPERATIONS = ("open", "write", "fsync", "fchmod", "fchown", "rename", "unlink", "read", "stat")
FILES = ("conf.yml", "out", "journal.json", ".conf.yml.hms-base")
SILENT = {"unlink", "read"}  # nothing depends on it: what cannot be read is replaced, a temp file goes the next time


class Fault:
    """Makes one operation of this very process fail on one file (and its temp file) for as long as it is `on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, operation: str, error: str, path: Path) -> None:
        self.on, self.met = True, 0
        self._names = {str(path), temp_name(str(path))}
        self._code = getattr(errno, error)
        real = getattr(os, operation)

        def faulty(subject: Any, *rest: Any, **more: Any) -> Any:
            if self.on and self._meant(operation, subject, *rest):
                self.met += 1
                named = () if isinstance(subject, int) else (subject,)
                raise OSError(self._code, os.strerror(self._code), *named)
            return real(subject, *rest, **more)

        monkeypatch.setattr(os, operation, faulty)

    def _meant(self, operation: str, subject: Any, *rest: Any) -> bool:
        if operation == "open":
            return subject in self._names and bool(rest[0] & (os.O_CREAT | os.O_APPEND))
        if isinstance(subject, int):
            return str(Path(f"/proc/self/fd/{subject}").readlink()) in self._names
        return (rest[0] if operation == "rename" else subject) in self._names


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    made = Stub(tmp_path / "stub", tmp_path / "conf.yml", tmp_path / "out")
    yield made
    made.stop()


@pytest.fixture
def bench(configure: Configure, hands: Hands, tmp_path: Path) -> Bench:
    """With a rendered file, and owners that are not ours."""
    (tmp_path / "t").write_text("a is {{a}}\n")
    for path in (tmp_path / "conf.yml", tmp_path / "out"):
        path.touch()
        os.chown(path, 1, 1)
    made = Bench(configure(HMS_RENDER=f"{tmp_path}/t:{tmp_path}/out"), hands)
    made.settle()
    made.settle(5)
    made.settle()
    for path in (tmp_path / "state" / "journal.json", tmp_path / ".conf.yml.hms-base"):
        os.chown(path, 1, 1)
    return made


def place(bench: Bench, name: str) -> Path:
    return (Path(bench.settings.state) if name == "journal.json" else bench.conf.parent) / name


def consistent(bench: Bench) -> bool:
    """Both files are of the same document."""
    value = bench.conf.read_text().removeprefix("a: ").strip()
    return (bench.conf.parent / "out").read_text() == f"a is {value}\n"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_refusal_is_said_survived_and_over_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, operation: str, name: str
) -> None:
    shift = OPERATIONS.index(operation) + FILES.index(name)
    for error in ERRORS if THOROUGH else ERRORS[shift % 7 : shift % 7 + 1]:
        if name == ".conf.yml.hms-base":
            place(bench, name).unlink(missing_ok=True)  # it must be written anew
            bench = bench.again()
        before = descriptors()
        with monkeypatch.context() as patching:
            fault = Fault(patching, operation, error, place(bench, name))
            bench.settle(7, seconds=2.5)
            words = bench.applier.trouble()
            assert consistent(bench)
            if fault.met and operation not in SILENT and words:
                assert name in words
                own_words = os.strerror(getattr(errno, error)), "mount its directory", "belongs to user 1"
                assert any(told in words for told in own_words)
                assert (7, "failed") in bench.receipts() or bench.conf.read_text() == "a: 7\n"
            if operation not in SILENT and fault.met and not words:
                assert bench.conf.read_text() == "a: 7\n"
            assert fault.met < 60, "a loop without a pause"
            fault.on = False
            assert bench.settle(7, seconds=8) == "a: 7\n"
        assert consistent(bench)
        assert bench.applier.trouble() == ""
        assert bench.applier.phase == "steady"
        assert bench.settle() == "a: 1\n"
        assert descriptors() <= before
        assert bench.again().journal.base == "a: 1\n"
        assert [path for path in bench.conf.parent.rglob("*.hms-new") if operation != "unlink"] == []


MUST_SAY = [
    (operation, name)
    for operation in ("open", "write", "fsync", "rename", "fchmod", "fchown")
    for name in FILES
    if (operation, name) != ("fchown", ".conf.yml.hms-base")
]


@pytest.mark.parametrize(("operation", "name"), MUST_SAY)
def test_an_addition_that_cannot_be_written_down_does_not_begin(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, operation: str, name: str
) -> None:
    place(bench, ".conf.yml.hms-base").unlink()
    fault = Fault(monkeypatch, operation, "ENOSPC", place(bench, name))
    assert bench.settle(7, seconds=0.9) == "a: 1\n"
    assert fault.met
    assert bench.applier.trouble() == f"written: {place(bench, name)}: No space left on device"
    assert bench.applier.phase == "failed"
    assert (7, "failed") in bench.receipts()
    assert bench.applier.failures() == {}


@pytest.mark.parametrize("operation", ["open", "write", "fsync", "rename"])
@pytest.mark.parametrize("name", ["journal.json", ".conf.yml.hms-base"])
def test_an_ending_does_not_wait_for_the_journal(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, operation: str, name: str
) -> None:
    bench.settle(7)
    place(bench, ".conf.yml.hms-base").unlink()
    fault = Fault(monkeypatch, operation, "EIO", place(bench, name))
    assert bench.settle(seconds=0.3) == "a: 1\n"
    assert fault.met
    assert f"{name}: Input/output error" in bench.applier.trouble()
    again = bench.again()  # killed now, with a journal that knows nothing of the ending
    assert again.journal.base == "a: 1\n"
    assert again.settle() == "a: 1\n"
    assert again.journal.base == "a: 1\n"
    assert (7, "reverted") in again.receipts()


def test_a_directory_that_is_not_synced_forgets_nothing_the_journal_does_not_know(
    monkeypatch: pytest.MonkeyPatch, bench: Bench, capfd: pytest.CaptureFixture[str]
) -> None:
    """The rename has happened: the process works with the new file, and a power cut may bring the old one back."""
    bench.settle(5)
    fault = Fault(monkeypatch, "fsync", "EIO", bench.conf.parent)
    fault._names = {str(bench.conf.parent)}
    assert bench.settle(5, 7) == "a: 7\n"
    assert bench.applier.effective.ids == (5, 7)  # type: ignore[union-attr]
    assert f"{bench.conf.parent}: Input/output error; a power cut" in bench.applier.trouble()
    known = json.loads(Path(bench.store.path).read_text())
    assert known["active"] == [5, 7]
    bench.conf.write_text("a: 5\n")  # the power cut
    fault.on = False
    again = bench.again()
    assert again.settle(5, 7) == "a: 7\n"
    assert again.journal.base == "a: 1\n"
    assert again.applier.trouble() == ""
    assert '"drift"' not in capfd.readouterr().err  # nobody edited anything


def test_a_directory_is_synced_again_until_it_takes_it(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    fault = Fault(monkeypatch, "fsync", "EIO", bench.conf.parent)
    fault._names = {str(bench.conf.parent)}
    bench.settle(7, seconds=5)
    assert 3 <= fault.met <= 7
    fault.on = False
    bench.settle(7, seconds=1.5)
    assert bench.applier.trouble() == ""
    assert bench.journal.unsynced == []


def test_short_writes(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    assert bench.settle(7) == "a: 7\n"
    assert bench.again().journal.active == (7,)


def test_a_disk_that_takes_nothing_is_no_endless_loop(monkeypatch: pytest.MonkeyPatch, bench: Bench) -> None:
    monkeypatch.setattr(os, "write", lambda _fd, _data: 0)
    assert bench.settle(7) == "a: 1\n"
    assert "the disk takes nothing" in bench.applier.trouble()


# --- a real agent


@pytest.mark.parametrize("call", ["write", "fsync", "openat", "read"])
def test_an_interrupted_call_is_made_again(agent: Agent, control: Control, call: str) -> None:
    need("strace")
    control.put(1, {"rate_limit_rps": 200})
    places = [word for path in (agent.conf, agent.state / "journal.json") for word in ("-P", temp_name(str(path)))]
    fault = f"inject={call}:error=EINTR:when=1+2"
    agent.wrapper = ["strace", "-f", "-qq", "-o", "/dev/null", *places, "-e", f"trace={call}", "-e", fault]
    assert agent.run("run", "--once").returncode == 0
    assert "rate_limit_rps: 200" in agent.conf.read_text()


class Mounted:
    """Mounts for one test, really made: it needs root, as CI has."""

    def __init__(self) -> None:
        self._targets: list[Path] = []

    def __call__(self, *words: str, target: Path) -> None:
        subprocess.run(["mount", *words, str(target)], check=True)
        self._targets.append(target)

    def again(self, options: str, target: Path) -> None:
        subprocess.run(["mount", "-o", f"remount,{options}", str(target)], check=True)

    def undo(self) -> None:
        for target in reversed(self._targets):
            subprocess.run(["umount", "-l", str(target)], check=False)


@pytest.fixture
def mount() -> Iterator[Mounted]:
    made = Mounted()
    yield made
    made.undo()


@pytest.fixture
def served(agent: Agent, tmp_path: Path) -> Iterator[Stub]:
    made = Stub(tmp_path / "stub", agent.conf)
    agent.environment["HMS_PIDFILE"] = str(made.pidfile)
    yield made
    made.stop()


def in_trouble(acks: Acks, *words: str) -> dict[str, Any]:
    def found() -> dict[str, Any]:
        last = acks.last()
        return last if last and all(word in last["trouble"] for word in words) else {}

    return until(found, f"{words} in a report")


@pytest.mark.parametrize("which", ["conf", "state"])
def test_a_full_disk(  # noqa: PLR0913, PLR0917 - each is a part of the world
    agent: Agent, served: Stub, control: Control, acks: Acks, mount: Mounted, which: str
) -> None:
    place = agent.conf.parent if which == "conf" else agent.state
    place.mkdir(exist_ok=True)
    mount("-t", "tmpfs", "-o", "size=256k", "tmpfs", target=place)
    agent.conf.write_text(CONF)
    agent.start()
    acks.wait_active()
    end = time.time() + 4
    control.put(1, {"rate_limit_rps": 200}, end=end)
    acks.wait_active(1)
    filler = place / "filler"
    with pytest.raises(OSError, match="No space left"):
        filler.write_bytes(b"x" * 1024 * 1024)
    control.put(2, {"greeting": "x" * 9000})
    last = in_trouble(acks, "No space left on device", str(place))
    assert last["active"] == [1]
    assert "rate_limit_rps: 200" in agent.conf.read_text()
    if which == "state":
        until(lambda: agent.conf.read_text() == CONF, "the end, with no journal", end + 1 - time.time())
    assert served.runs()
    filler.unlink()
    acks.wait_active(*([1, 2] if time.time() < end - 1 else [2]), seconds=15)
    assert acks.last()["trouble"] == ""
    assert served.runs()


def test_a_mount_that_becomes_read_only(
    agent: Agent, served: Stub, control: Control, acks: Acks, mount: Mounted
) -> None:
    place = agent.conf.parent
    mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", target=place)
    agent.conf.write_text(CONF)
    agent.start()
    acks.wait_active()
    mount.again("ro", place)
    control.put(1, {"rate_limit_rps": 200})
    in_trouble(acks, "Read-only file system", str(place))
    assert agent.conf.read_text() == CONF
    mount.again("rw", place)
    acks.wait_active(1)
    assert served.loaded() == agent.conf.read_text() == CONF.replace("50 ", "200 ")
    assert acks.last()["trouble"] == ""


def test_a_single_file_that_is_mounted(
    agent: Agent, served: Stub, control: Control, acks: Acks, mount: Mounted
) -> None:
    twin = agent.directory / "twin.yml"
    twin.write_text(CONF)
    mount("--bind", str(twin), target=agent.conf)
    agent.start()
    acks.wait_active()
    control.put(1, {"rate_limit_rps": 200})
    in_trouble(acks, "mount its directory", str(agent.conf))
    assert agent.conf.read_text() == twin.read_text() == CONF
    assert not list(agent.conf.parent.glob("*.hms-new"))
    mount.undo()
    acks.wait_active(1)
    assert "rate_limit_rps: 200" in agent.conf.read_text()
    assert served.runs()


def test_what_a_killed_agent_left_is_swept_away_at_the_next_start(bench: Bench) -> None:
    """Also where nothing is to be written then."""
    names = [*FILES, "good.json"]
    left = [Path(temp_name(str(place(bench, name)))) for name in names]
    left[-1] = Path(temp_name(bench.store.good_path))
    for path in left:
        path.write_text("half")
    bench.again()
    assert [path.name for path in left if path.exists()] == []


def test_a_file_that_was_not_there_is_not_there_when_the_others_cannot_be_written(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with Staged({str(first): "new", str(second): "new"}) as staged:
        second.mkdir()
        with pytest.raises(IsADirectoryError):
            staged.commit()
    assert not first.exists()
