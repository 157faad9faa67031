"""The signal reaches exactly the served process, or nobody."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hms_svc import process
from hms_svc.process import ProcessRefused

from .rig import CONF, Acks, Agent, Control, until

SERVED = """\
import ctypes, pathlib, signal, sys, time
ctypes.CDLL(None).prctl(15, sys.argv[1].encode())
log = pathlib.Path(sys.argv[2])
signal.signal(signal.SIGHUP, lambda *_: log.write_text(log.read_text() + "HUP\\n"))
if sys.argv[3:] == ["dies"]:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if sys.argv[3:] == ["waits"]:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])
log.write_text("")  # whoever sees it may send signals
if sys.argv[3:] == ["waits"]:
    while True:
        signal.sigwait([signal.SIGHUP])
        log.write_text(log.read_text() + "HUP\\n")
while True:
    time.sleep(60)
"""


class Served:
    """Fake served process: counts its HUPs in a file, or dies of the first."""

    def __init__(self, directory: Path, name: str, *how: str) -> None:
        self.log = directory / "hups"
        self.pidfile = directory / "served.pid"
        self.name = name
        self._how = how
        self.start()

    def start(self) -> None:
        self.log.unlink(missing_ok=True)
        self.popen = subprocess.Popen([sys.executable, "-c", SERVED, self.name, str(self.log), *self._how])
        self.pidfile.write_text(f"{self.popen.pid}\n")
        until(self.log.exists, "the served process")

    def hups(self) -> int:
        return self.log.read_text().count("HUP")

    def stop(self) -> None:
        self.popen.kill()
        self.popen.wait()


@pytest.fixture
def name() -> str:
    return f"hms-t{os.getpid() % 100_000_000}"


@pytest.fixture
def served(tmp_path: Path, name: str) -> Iterator[Served]:
    process = Served(tmp_path, name)
    yield process
    process.stop()


@pytest.fixture
def mortal(tmp_path: Path, name: str) -> Iterator[Served]:
    process = Served(tmp_path, name, "dies")
    yield process
    process.stop()


def test_found_by_name_it_is_told_to_reload_once(
    new_agent: Callable[..., Agent], served: Served, control: Control, acks: Acks
) -> None:
    new_agent(HMS_PROCESS=served.name).start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    until(lambda: served.hups() == 1, "the signal to be noted")  # told is not yet noted: nothing probes this one


def test_a_pidfile_that_names_another_process_is_refused_and_blames_no_patch(
    new_agent: Callable[..., Agent], served: Served, control: Control, acks: Acks
) -> None:
    agent = new_agent(HMS_PROCESS="nginx", HMS_PIDFILE=str(served.pidfile), HMS_CONFIRM_TIMEOUT="0.5").start()
    control.put(1, {"rate_limit_rps": 200})
    words = f"pid {served.popen.pid}, which is '{served.name}' and not 'nginx': not signalled"
    report = until(lambda: acks.last() if words in acks.last().get("trouble", "") else {}, "the refusal")
    assert (report["failed"], report["active"]) == ([], [])
    until(lambda: "failed" in acks.receipts(1), "the patch's own receipt")
    assert "rate_limit_rps: 200" in agent.conf.read_text()
    assert served.hups() == 0


@pytest.mark.parametrize("starts", ["before", "after"])
def test_a_pidfile_that_is_wrong_for_a_moment_blames_no_patch(
    new_agent: Callable[..., Agent], served: Served, control: Control, acks: Acks, *, starts: str
) -> None:
    """As at a pod's start, when the file of the last run is still there and its number is somebody else's."""
    agent = new_agent(HMS_PROCESS=served.name, HMS_PIDFILE=str(served.pidfile)).start()
    acks.wait_active()
    served.pidfile.write_text(f"{os.getpid()}\n")
    control.put(1, {"rate_limit_rps": 200})
    until(lambda: "200" in agent.conf.read_text(), "the new file")
    time.sleep(0.3)
    assert "reloaded" not in acks.receipts(1)
    if starts == "after":
        served.stop()
        served.start()
    else:
        served.pidfile.write_text(f"{served.popen.pid}\n")
    acks.wait_active(1)
    until(lambda: served.hups() == (starts == "before"), "the signal to be noted")
    assert "failed" not in acks.receipts(1)


def test_a_process_that_a_signal_would_kill_is_spared(
    new_agent: Callable[..., Agent], mortal: Served, control: Control, acks: Acks
) -> None:
    agent = new_agent(HMS_PROCESS=mortal.name, HMS_PIDFILE=str(mortal.pidfile), HMS_CONFIRM_TIMEOUT="0.5").start()
    control.put(1, {"rate_limit_rps": 200})
    report = until(lambda: acks.last() if acks.last().get("failed") else {}, "the failure")
    assert report["failed"][0]["stage"] == "effective"
    assert "would die of signal 1: it has no handler" in report["failed"][0]["detail"]
    until(lambda: agent.conf.read_text() == CONF, "the old file")
    assert mortal.popen.poll() is None


def test_one_that_waits_for_the_signal_without_a_handler_is_told(
    new_agent: Callable[..., Agent], tmp_path: Path, name: str, control: Control, acks: Acks
) -> None:
    """`sigwait` takes what is blocked, and while it waits /proc says that nothing is."""
    waiting = Served(tmp_path, name, "waits")
    until(lambda: "sigtimedwait" in Path(f"/proc/{waiting.popen.pid}/wchan").read_text(), "it to wait")
    new_agent(HMS_PIDFILE=str(waiting.pidfile)).start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    until(lambda: waiting.hups() == 1, "the signal to be noted")
    assert waiting.popen.poll() is None
    waiting.stop()


def test_a_reload_command_replaces_the_signal(
    new_agent: Callable[..., Agent], tmp_path: Path, control: Control, acks: Acks
) -> None:
    told = tmp_path / "told"
    new_agent(HMS_RELOAD=f"sh -c 'echo told >> {told}; test -z \"$HMS_REDIS_URL$HMS_TOKEN\"'", HMS_TOKEN="x").start()
    control.put(1, {"rate_limit_rps": 200})
    acks.wait_active(1)
    assert told.read_text() == "told\n"


def test_a_failing_reload_command_speaks_for_itself(
    new_agent: Callable[..., Agent], control: Control, acks: Acks
) -> None:
    agent = new_agent()
    agent.environment["HMS_RELOAD"] = f"sh -c 'grep -q 200 {agent.conf} && echo no such luck && exit 3 || true'"
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    report = until(lambda: acks.last() if acks.last().get("phase") == "failed" else {}, "the failure")
    assert report["failed"] == [{"patch_id": 1, "stage": "reloaded", "detail": "no such luck"}]
    assert agent.conf.read_text() == CONF


def test_never_the_init_and_never_ourselves(tmp_path: Path) -> None:
    pidfile = tmp_path / "pid"
    for pid in (1, os.getpid()):
        pidfile.write_text(str(pid))
        with pytest.raises(ProcessRefused):
            process.find(str(pidfile), "")
        found = process.look(pid)
        assert found is not None
        with pytest.raises(ProcessRefused):
            process.send(found, signal.SIGHUP)


def test_a_number_given_to_another_process_is_not_signalled(served: Served) -> None:
    found = process.find(str(served.pidfile), served.name)
    assert found is not None
    stranger = found._replace(started=found.started - 1)
    assert not process.send(stranger, signal.SIGHUP)
    assert not process.alive(stranger)
    assert process.send(found, signal.SIGHUP)
    until(lambda: served.hups() == 1, "the one honest signal")


def test_a_dead_process_is_no_process(served: Served) -> None:
    found = process.find(str(served.pidfile), served.name)
    assert found is not None
    served.popen.kill()
    until(lambda: not process.alive(found), "the zombie to count as gone")
    assert process.find(str(served.pidfile), served.name) is None
    assert not process.send(found, signal.SIGHUP)


def test_two_of_one_name_are_too_many(served: Served, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Served(tmp_path / "second", served.name)
    try:
        with pytest.raises(ProcessRefused, match="HMS_PIDFILE"):
            process.find("", served.name)
    finally:
        second.stop()


@pytest.mark.parametrize("content", ["", "\n", "0", "4194999"])
def test_a_pidfile_without_a_process_is_no_process(tmp_path: Path, content: str) -> None:
    pidfile = tmp_path / "pid"
    pidfile.write_text(content)
    assert process.find(str(pidfile), "nginx") is None
