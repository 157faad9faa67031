"""A process that cannot be told, for its pid file is wrong or it may not be signalled: the patch is right.

In the files' side of an agent, on a clock moved by hand; the served process is a small one of our own.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hms_svc import process, status_view
from hms_svc.desired import Desired
from hms_svc.served import Served
from hms_svc.settings import Settings

from .bench import Bench
from .makers import Hands, patch
from .rig import until
from .stub import Stub

Configure = Callable[..., Settings]
NAME = Path(os.readlink("/proc/self/exe")).name[:15]  # noqa: PTH115 - what a child of ours that runs Python is called


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    made = Stub(tmp_path / "stub", tmp_path / "conf.yml")
    yield made
    made.stop()


@pytest.fixture
def spoken(stub: Stub) -> Iterator[int]:
    """The port of a server that shows what the stub works with."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = stub.loaded().encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def spoil(stub: Stub, way: str) -> str:
    """Make the pid file useless in this way; what will be said about it."""
    at = stub.pidfile
    if way == "a directory":
        at.unlink()
        at.mkdir()
        return f"cannot read {at}: Is a directory"
    texts = {
        "garbage": ("my pid is 7\n", "holds no process number"),
        "the init": ("1\n", "pid 1 ("),
        "the agent": (f"{os.getpid()}\n", "is the agent itself"),
        "a foreign process": (f"{os.getppid()}\n", f"names pid {os.getppid()}, which is "),
    }
    text, words = texts[way]
    at.write_text(text)
    return words


def repair(stub: Stub, pid: str) -> None:
    if stub.pidfile.is_dir():
        stub.pidfile.rmdir()
    stub.pidfile.write_text(pid)


@pytest.mark.parametrize("way", ["garbage", "a directory", "the init", "the agent", "a foreign process"])
def test_a_pid_file_that_stays_wrong_blames_no_patch(configure: Configure, hands: Hands, stub: Stub, way: str) -> None:
    name = {"HMS_PROCESS": "no-such-name" if way == "a foreign process" else ""}
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="2", **name), hands)
    bench.settle()
    pid = stub.pidfile.read_text()
    words = spoil(stub, way)
    assert bench.settle(7, seconds=2.7) == "a: 7\n"
    assert stub.loaded() == "a: 1\n"
    assert bench.applier.failures() == {}
    assert bench.applier.phase == "failed"
    assert bench.applier.trouble().startswith("reloaded: ")
    assert words in bench.applier.trouble()
    assert bench.receipts() == [(7, "checked"), (7, "written"), (7, "failed")]
    if way == "a foreign process":
        return  # it would have to take another name
    repair(stub, pid)
    bench.settle(7, seconds=10)
    assert bench.receipts()[-1] == (7, "effective")
    until(lambda: stub.loaded() == "a: 7\n", "the reload")
    assert (bench.applier.phase, bench.applier.trouble()) == ("steady", "")


def test_an_error_of_the_disk_that_nobody_foresaw_blames_no_patch(
    configure: Configure, hands: Hands, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile)), hands)
    bench.settle()

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", str(stub.pidfile))

    with monkeypatch.context() as patched:
        patched.setattr(Served, "tell", broken)
        bench.settle(7, seconds=0.5)
        assert bench.applier.failures() == {}
        assert bench.applier.trouble() == f"effective: {stub.pidfile}: Input/output error"
    bench.settle(7, seconds=10)
    assert (bench.receipts()[-1], bench.applier.trouble()) == ((7, "effective"), "")


REFUSALS = {
    errno.EPERM: "not permitted to signal pid",
    errno.ENOSYS: "cannot signal pid",
    errno.EBUSY: "cannot signal pid",
    errno.EMFILE: "cannot look for the process",
}


@pytest.mark.parametrize(("number", "words"), REFUSALS.items(), ids=[errno.errorcode[number] for number in REFUSALS])
def test_a_kernel_that_does_not_let_us_signal_blames_no_patch(  # noqa: PLR0913, PLR0917 - fixtures, and a table
    configure: Configure, hands: Hands, stub: Stub, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """The kernel's answer is played here; `test_served` has an agent that really may not."""
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="2"), hands)
    bench.settle()
    with monkeypatch.context() as forbidden:
        forbidden.setattr(signal, "pidfd_send_signal", refusing(number))
        assert bench.settle(7, seconds=60) == "a: 7\n"
        assert bench.applier.failures() == {}
        assert words in bench.applier.trouble()
        assert bench.receipts().count((7, "failed")) == 1
    assert stub.loaded() == "a: 1\n"
    bench.settle(7, seconds=31)
    assert bench.receipts()[-1] == (7, "effective")
    until(lambda: stub.loaded() == "a: 7\n", "the reload")


def refusing(number: int) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def test_its_receipts_come_once_however_often_it_is_tried_and_again_when_it_comes_again(
    configure: Configure, hands: Hands, stub: Stub
) -> None:
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="1"), hands)
    bench.settle()
    pid = stub.pidfile.read_text()
    spoil(stub, "garbage")
    bench.settle(7, seconds=20)
    spoil(stub, "the init")
    bench.settle(7, seconds=40)
    repair(stub, pid)
    bench.settle(7, seconds=31)
    stages = [stage for _, stage in bench.receipts()]
    assert stages == ["checked", "written", "failed", "failed", "reloaded", "effective"]
    bench.settle()
    bench.settle(7)
    again = [stage for _, stage in bench.receipts()][len(stages) :]
    assert again == ["reverted", "checked", "written", "reloaded", "effective"]


def test_an_ending_nobody_could_be_told_of_is_tried_each_second(
    configure: Configure, hands: Hands, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process still works with what has ended."""
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="0.5"), hands)
    bench.settle(7)
    with monkeypatch.context() as forbidden:
        forbidden.setattr(signal, "pidfd_send_signal", refusing(errno.EPERM))
        assert bench.settle(seconds=60) == "a: 1\n"
        assert "not permitted" in bench.applier.trouble()
    bench.settle(seconds=1.8)
    assert bench.receipts()[-1] == (7, "reverted")


@pytest.mark.parametrize("way", ["missing", "of a dead process"])
@pytest.mark.parametrize("weak", [True, False])
def test_one_that_answers_and_cannot_be_found_is_not_taken_for_told(  # noqa: PLR0913 - fixtures
    configure: Configure, hands: Hands, stub: Stub, spoken: int, way: str, *, weak: bool
) -> None:
    """A probe that any configuration would pass proves nothing while nobody was told."""
    probe = {"HMS_PROBE_URL": f"http://127.0.0.1:{spoken}/"} | ({} if weak else {"HMS_PROBE_BODY": "a: {{a}}"})
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="2", **probe), hands)
    bench.settle()
    pid = stub.pidfile.read_text()
    stub.pidfile.unlink() if way == "missing" else stub.pidfile.write_text("4194303\n")
    assert bench.settle(7, seconds=5) == "a: 7\n"
    assert bench.applier.failures() == {}
    assert f"no process was found by {str(stub.pidfile)!r}" in bench.applier.trouble()
    assert bench.receipts()[-1] == (7, "failed")
    stub.pidfile.write_text(pid)
    bench.settle(7, seconds=10)
    assert bench.receipts()[-1] == (7, "effective")
    assert stub.loaded() == "a: 7\n"


def test_one_that_shows_the_new_values_needs_not_be_found(
    configure: Configure, hands: Hands, stub: Stub, spoken: int
) -> None:
    """Somebody else told it: what it shows is better evidence than whom we know."""
    body = {"HMS_PROBE_URL": f"http://127.0.0.1:{spoken}/", "HMS_PROBE_BODY": "a: {{a}}"}
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), **body), hands)
    bench.settle()
    pid = int(stub.pidfile.read_text())
    stub.pidfile.unlink()
    bench.settle(7, seconds=1)
    assert "effective" not in [stage for _, stage in bench.receipts()]
    os.kill(pid, signal.SIGHUP)
    until(lambda: stub.loaded() == "a: 7\n", "the reload")
    bench.settle(7, seconds=1)
    assert bench.receipts()[-1] == (7, "effective")


def test_one_that_does_not_run_is_waited_for_and_named(configure: Configure, hands: Hands, stub: Stub) -> None:
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="2"), hands)
    bench.settle()
    stub.stop()
    bench.settle(7, seconds=20)
    assert bench.applier.phase == "applying"
    assert bench.applier.trouble() == f"effective: no process was found by {str(stub.pidfile)!r}"
    assert (7, "failed") not in bench.receipts()
    stub.start()
    bench.settle(7, seconds=5)
    assert bench.receipts()[-1] == (7, "effective")
    assert bench.applier.trouble() == ""


def test_a_reload_command_that_is_not_there_blames_no_patch(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    tool, told = tmp_path / "reload", tmp_path / "told"
    bench = Bench(configure(HMS_RELOAD=str(tool)), hands)
    assert bench.settle(7, seconds=5) == "a: 7\n"
    assert bench.applier.failures() == {}
    assert bench.applier.trouble() == f"reloaded: cannot run {tool}: {tool}: No such file or directory"
    tool.write_text(f"#!/bin/sh\necho told >> {told}\n")
    tool.chmod(0o700)
    bench.settle(7, seconds=31)
    assert bench.receipts()[-1] == (7, "effective")
    assert told.read_text() == "told\n"


def test_a_second_patch_goes_the_same_way_and_both_arrive(configure: Configure, hands: Hands, stub: Stub) -> None:
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="1"), hands)
    bench.settle()
    pid = stub.pidfile.read_text()
    spoil(stub, "garbage")
    bench.settle(7, seconds=5)
    assert bench.settle(7, 8, seconds=5) == "a: 8\n"
    assert bench.again().settle(7, 8, seconds=5) == "a: 8\n"
    repair(stub, pid)
    again = bench.again()
    again.settle(7, 8, seconds=5)
    assert again.applier.effective.ids == (7, 8)  # type: ignore[union-attr]
    assert again.applier.failures() == {}


def test_the_status_says_where_it_is_held_up(configure: Configure, hands: Hands, stub: Stub) -> None:
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_CONFIRM_TIMEOUT="1"), hands)
    bench.settle()
    spoil(stub, "garbage")
    bench.settle(7, seconds=4)
    desired = Desired("API", "2.1.0", "artist-1", hands.at)
    desired.restore(1, {7: patch(7, {"a": 7})}, bench.journal.latches, complete=True)
    [shown] = status_view.each(desired, bench.journal, hands.at)["patches"]
    assert shown["stage"] == "held up at reloaded"
    assert "holds no process number" in shown["detail"]


def test_one_that_starts_meanwhile_has_read_the_files(
    configure: Configure, hands: Hands, stub: Stub, spoken: int
) -> None:
    """Whatever answers before it, and however little that shows."""
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_PROBE_URL=f"http://127.0.0.1:{spoken}/"), hands)
    bench.settle()
    stub.stop()
    bench.settle(7, seconds=0.5)
    assert "effective" not in [stage for _, stage in bench.receipts()]
    stub.start()
    bench.settle(7, seconds=2)
    assert bench.receipts()[-1] == (7, "effective")
    assert stub.loaded() == "a: 7\n"


def test_one_that_a_command_reloads_needs_no_signal(
    configure: Configure, hands: Hands, stub: Stub, spoken: int
) -> None:
    probe = {"HMS_PROBE_URL": f"http://127.0.0.1:{spoken}/"}
    bench = Bench(configure(HMS_PIDFILE=str(stub.pidfile), HMS_RELOAD="true", **probe), hands)
    bench.settle(7, seconds=2)
    assert bench.receipts()[-1] == (7, "effective")


def test_a_pipe_in_the_place_of_a_pid_file_is_not_waited_for(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    os.mkfifo(pidfile)
    found: list[object] = []
    asking = threading.Thread(target=lambda: found.append(process.find(str(pidfile), "")), daemon=True)
    asking.start()
    asking.join(5)
    assert found == [None]
