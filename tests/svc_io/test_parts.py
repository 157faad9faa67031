"""The agent's small parts, each alone: files, commands, addresses, HTTP answers, reports."""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from hms_svc import command, conf_file, http, process, tcp
from hms_svc.address import HttpAddress
from hms_svc.errand import Bell, Errand
from hms_svc.report import MOST_RECEIPTS, MOST_RECEIPTS_AT_ONCE, Reporter, State
from hms_svc.settings import read
from hms_svc.staging import Staged

from .rig import readable, until

STATE = State(1, (1,), "d", "steady", {}, "", (), False)
ADDRESS = HttpAddress("127.0.0.1", 80, "/", None)


# --- files


def test_candidates_are_put_in_place_together_or_removed(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yml", tmp_path / "b.conf"
    first.write_text("old")
    with Staged({str(first): "new", str(second): "new too"}) as staged:
        assert first.read_text() == "old"
        assert Path(staged.temps[str(first)]).read_text() == "new"
        staged.commit()
    assert (first.read_text(), second.read_text()) == ("new", "new too")
    with Staged({str(first): "never"}):
        pass
    assert first.read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yml", "b.conf"]


def test_a_candidate_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Staged({str(tmp_path / "a"): "x", str(tmp_path / "no" / "b"): "y"})
    assert list(tmp_path.iterdir()) == []


def test_all_candidates_come_into_place_or_none(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yml", tmp_path / "b.conf"
    first.write_text("old")
    with Staged({str(first): "new", str(second): "new too"}) as staged:
        second.mkdir()
        with pytest.raises(IsADirectoryError):
            staged.commit()
    assert first.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yml", "b.conf"]


def test_line_ends_and_marks_survive(tmp_path: Path) -> None:
    path = tmp_path / "conf.yml"
    path.write_bytes(b"a: 1\r\nb: \xc3\xa9\r\n")
    text = conf_file.read_text(str(path))
    assert text == "a: 1\r\nb: é\r\n"
    conf_file.write_atomically(str(path), text)
    assert path.read_bytes() == b"a: 1\r\nb: \xc3\xa9\r\n"


def test_a_link_planted_at_the_temp_name_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("safe")
    target = tmp_path / "conf.yml"
    Path(conf_file.temp_name(str(target))).symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        conf_file.write_atomically(str(target), "x")
    assert victim.read_text() == "safe"


def test_texts_do_not_run_into_each_other_in_a_fingerprint() -> None:
    assert conf_file.sha("ab", "c") != conf_file.sha("a", "bc")
    assert conf_file.sha("a\0b") != conf_file.sha("a", "b")


# --- commands


def test_a_command_ends_with_its_code_and_words() -> None:
    assert command.run(["sh", "-c", "echo out; echo err >&2; exit 3"], 5) == (3, "out\nerr")


def test_a_command_out_of_time_ends_with_its_children(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    since = time.monotonic()
    result = command.run(["sh", "-c", f"sleep 60 & echo $! > {pidfile}; echo waiting; wait"], 0.5)
    assert result == (None, "waiting")
    assert time.monotonic() - since < 5
    child = int(pidfile.read_text())
    until(lambda: process.look(child) is None, "the child to end too")


def test_a_daemon_left_behind_is_not_waited_for() -> None:
    since = time.monotonic()
    assert command.run(["sh", "-c", "sleep 3 & exit 0"], 10).code == 0
    assert time.monotonic() - since < 2.5


def test_long_words_are_cut() -> None:
    assert len(command.run(["sh", "-c", "yes | head -100000"], 10).words) <= command.WORDS_BYTES


def test_a_command_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        command.run(["/nowhere/at-all"], 1)


# --- errands


def test_an_errand_rings_when_it_is_done() -> None:
    bell = Bell()
    good, bad = Errand(bell, lambda: 7), Errand(bell, lambda: int("no number"))
    until(lambda: good.done and bad.done, "both errands")
    until(lambda: readable(bell.reader), "the bell")
    bell.hush()
    assert not readable(bell.reader)
    assert good.take() == 7
    with pytest.raises(ValueError, match="no number"):
        bad.take()


# --- settings


def test_settings_have_sane_defaults() -> None:
    settings = read({"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"})
    assert settings.instance == os.uname().nodename
    assert (settings.conf, settings.state) == ("/etc/service/conf.yml", "/var/lib/hms-svc")
    assert (settings.signal, settings.confirm_timeout, settings.reloads) == (1, 10.0, False)


# --- HTTP


class Canned:
    """Fake HTTP server: sends the same bytes to everybody and closes, or keeps the connection open."""

    def __init__(self, answer: bytes, *, closes: bool = True) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._answer, self._closes = answer, closes
        self._kept: list[socket.socket] = []
        self.address = HttpAddress("127.0.0.1", self._server.getsockname()[1], "/x", None)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            client.recv(4096)
            client.sendall(self._answer)
            if self._closes:
                client.close()
            else:
                self._kept.append(client)

    def stop(self) -> None:
        for sock in (self._server, *self._kept):
            sock.close()


class Serve(Protocol):
    """How tests ask for a canned answer."""

    def __call__(self, answer: bytes, *, closes: bool = True) -> HttpAddress: ...


@pytest.fixture
def serve() -> Iterator[Serve]:
    made: list[Canned] = []

    def build(answer: bytes, *, closes: bool = True) -> HttpAddress:
        made.append(Canned(answer, closes=closes))
        return made[-1].address

    yield build
    for server in made:
        server.stop()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nhello extra",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX-A: 9\r\n\r\nHTTP/1.1 200 OK\r\nX-A: 1\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\nx-a: 1\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;q\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_http_bodies(serve: Serve, answer: bytes) -> None:
    response = http.get(serve(answer), "/", {}, 5, 100)
    assert (response.status, response.headers["x-a"], response.body) == (200, "1", b"hello")


@pytest.mark.parametrize("head", [b"", b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_http_bodies_are_cut_at_the_limit(serve: Serve, head: bytes) -> None:
    size = b"a\r\n" if b"chunked" in head else b""
    answer = b"HTTP/1.1 200 OK\r\n" + head + b"\r\n" + size + b"0123456789"
    assert http.get(serve(answer), "/", {}, 5, 4).body == b"0123"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 xx\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"x" * 99_999,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n" + b"x" * 300 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\nxx\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n",
    ],
)
def test_what_is_no_http(serve: Serve, answer: bytes) -> None:
    with pytest.raises(http.HttpError):
        http.get(serve(answer), "/", {}, 5, 100)


@pytest.mark.parametrize(("host", "port"), [("127.0.0.1", 10**30), ("127.0.0.1", -1), ("\xe9" * 70, 1), ("a\0b", 1)])
def test_a_host_or_port_that_cannot_be_is_no_way_to_crash(host: str, port: int) -> None:
    """Sentinels and nodes of a cluster name them, too."""
    with pytest.raises(OSError, match=r".+"):
        tcp.connect(host, port, 1)


def test_a_server_that_says_nothing_is_given_up(serve: Serve) -> None:
    since = time.monotonic()
    with pytest.raises(http.HttpError):
        http.get(serve(b"HTTP/1.1 200 OK\r\n", closes=False), "/", {}, 0.3, 100)
    assert time.monotonic() - since < 2


# --- reports


def test_a_report_goes_out_on_change_and_every_five_seconds() -> None:
    reporter = Reporter({"instance": "i"})
    assert reporter.due(STATE, 0)
    reporter.delivered(STATE, 0)
    assert not reporter.due(STATE, 3.9)  # at a tick that all timers share, a second apart
    assert reporter.due(STATE, 5)
    assert reporter.due(STATE._replace(active=(1, 2)), 0.1)
    reporter.receipt([1], "effective", 0)
    assert reporter.due(STATE, 0.1)


def test_a_report_that_failed_keeps_its_receipts_and_waits_a_second() -> None:
    reporter = Reporter({"instance": "i"})
    reporter.receipt([1], "effective", 0)
    reporter.undelivered(0)
    assert not reporter.due(STATE, 0.9)
    assert reporter.due(STATE, 1)
    assert len(json.loads(reporter.word(STATE, 0))["receipts"]) == 1


def test_refusals_are_counted_and_told_soon_but_not_each() -> None:
    reporter = Reporter({"instance": "i"})
    reporter.delivered(STATE, 0)
    for _ in range(1000):
        reporter.refused("malformed", 0)
    assert not reporter.due(STATE, 0.1)
    assert reporter.due(STATE, 0.3)
    assert json.loads(reporter.word(STATE, 0))["refused"] == {"malformed": 1000}


def test_receipts_are_bounded_and_go_out_in_portions() -> None:
    reporter = Reporter({"instance": "i"})
    reporter.receipt(range(10_000), "received", 0)
    told = []
    while reporter.due(STATE, 0):
        told += json.loads(reporter.word(STATE, 0))["receipts"]
        reporter.delivered(STATE, 0)
    assert [one["patch_id"] for one in told] == list(range(10_000 - MOST_RECEIPTS, 10_000))
    assert MOST_RECEIPTS_AT_ONCE < MOST_RECEIPTS


def test_what_a_report_holds() -> None:
    reporter = Reporter({"instance": "i", "service": "s", "version": "1.0.0", "url": "", "pid": 7})
    reporter.receipt([3], "failed", 0, "x" * 9999)
    state = STATE._replace(failed={3: ("checked", "y" * 9999)}, drift=tuple("abc"))
    report = json.loads(reporter.word(state, 0, bye=True))
    assert set(report) == {
        "v", "instance", "service", "version", "url", "revision", "active", "digest", "phase", "failed", "trouble",
        "refused", "drift", "stale", "clock", "pid", "at", "receipts", "bye",
    }  # fmt: skip
    assert report["at"] == "1970-01-01T00:00:00.000000Z"
    assert len(report["failed"][0]["detail"]) == len(report["receipts"][0]["detail"]) == 500
    assert len(reporter.word(state, 0)) < 256 * 1024
