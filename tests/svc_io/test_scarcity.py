"""No more threads, processes or descriptors to be had: the loop lives, endings go, and no patch is blamed for it."""

import _thread
import errno
import gc
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from hms_svc import command, conf_file, scarcity
from hms_svc.errand import Bell, Errand
from hms_svc.http import HttpError
from hms_svc.link import Link
from hms_svc.process import ticks
from hms_svc.settings import Settings
from hms_svc.source import Source
from tests.conditions import THOROUGH

from .bench import Bench
from .makers import Hands
from .rig import Acks, Agent, Control, free_port, until
from .test_listener import ask

Configure = Callable[..., Settings]


def no_thread(*_: Any) -> int:
    raise RuntimeError("can't start new thread")


def no_process(*_: Any, **__: Any) -> int:
    raise OSError(errno.EAGAIN, "Resource temporarily unavailable")


SCARCE: dict[str, tuple[Any, str, Callable[..., int]]] = {
    "threads": (_thread, "start_new_thread", no_thread),
    "processes": (os, "posix_spawnp", no_process),
    "descriptors": (os, "pidfd_open", no_process),
}


@pytest.mark.parametrize("what", SCARCE)
@pytest.mark.parametrize("tool", ["HMS_CHECK", "HMS_RELOAD"])
def test_a_patch_waits_until_there_is_more(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch, what: str, tool: str
) -> None:
    bench = Bench(configure(**{tool: "true"}), hands)
    bench.settle()
    with monkeypatch.context() as patched:
        patched.setattr(*SCARCE[what])
        bench.settle(3)
        assert bench.applier.failures() == {}
        assert bench.applier.phase == "failed"
        assert "cannot run true" in bench.applier.trouble()
    assert bench.settle(3, seconds=40.0) == "a: 3\n"
    assert bench.settle(2, seconds=40.0) == "a: 2\n"
    assert bench.applier.phase == "steady"
    assert bench.applier.trouble() == ""


@pytest.mark.parametrize("what", SCARCE)
@pytest.mark.parametrize("tool", ["HMS_CHECK", "HMS_RELOAD", "HMS_PROBE_COMMAND"])
def test_an_ending_does_not_wait(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch, what: str, tool: str
) -> None:
    bench = Bench(configure(**{tool: "true"}), hands)
    bench.settle()
    assert bench.settle(2) == "a: 2\n"
    with monkeypatch.context() as patched:
        patched.setattr(*SCARCE[what])
        assert bench.settle(seconds=0.5) == "a: 1\n"
        bench.settle(seconds=5.0)
        assert bench.conf.read_text() == "a: 1\n"
    bench.settle(seconds=40.0)
    assert bench.applier.phase == "steady"
    assert (2, "reverted") in bench.receipts()


def test_a_command_that_cannot_be_watched_is_ended_and_buried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gc.collect()  # what other tests left open is not to be closed in between
    before, children = sorted(Path("/proc/self/fd").iterdir()), psutil.Process().children()
    monkeypatch.setattr(os, "pidfd_open", no_process)
    with pytest.raises(OSError, match="temporarily"):
        command.run(["sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 30"], 5)
    assert psutil.Process().children() == children
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def test_the_link_tries_again_later(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_thread, "start_new_thread", no_thread)
    link = Link(configure(), Bell())
    link.tend(100.0)
    link.tend(100.0)
    assert link.wake_at() >= 101.0


def test_mgt_is_asked_again_later(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = configure(HMS_MGT_URL="http://127.0.0.1:9")
    source = Source(settings, Bell(), Link(settings, Bell()))
    monkeypatch.setattr(_thread, "start_new_thread", no_thread)
    source.ask_mgt()
    assert source.arrived() is None
    source.ask_mgt()
    assert source.arrived() is None


@pytest.mark.parametrize("start", [no_thread, lambda *_: 0], ids=["refused", "ends before it begins"])
def test_an_errand_that_cannot_begin_is_done_and_says_so(
    monkeypatch: pytest.MonkeyPatch, start: Callable[..., int]
) -> None:
    monkeypatch.setattr(_thread, "start_new_thread", start)
    errand = Errand(Bell(), time.time)
    assert errand.done
    with pytest.raises(OSError, match="thread"):
        errand.take()
    assert not issubclass(HttpError, OSError)


def test_an_errand_short_of_memory_says_so_and_no_patch_is_blamed() -> None:
    def hungry() -> int:
        raise MemoryError

    errand, until_then = Errand(Bell(), hungry), time.monotonic() + 5
    while not errand.done and time.monotonic() < until_then:
        time.sleep(0.001)
    with pytest.raises(OSError, match="out of memory") as caught:
        errand.take()
    assert scarcity.scarce(caught.value)


def test_a_fold_short_of_memory_blames_no_patch(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hungry(*_: Any) -> None:
        raise MemoryError

    bench = Bench(configure(), hands)
    bench.settle()
    with monkeypatch.context() as patched:
        patched.setattr("hms_svc.drafts.make", hungry)
        bench.settle(3)
        assert (bench.applier.failures(), bench.applier.trouble()) == ({}, "checked: out of memory")
    assert bench.settle(3, seconds=40.0) == "a: 3\n"


@pytest.fixture
def hups() -> Iterator[list[float]]:
    """The served process is this one; here is when it was signalled."""
    seen: list[float] = []
    before = signal.signal(signal.SIGHUP, lambda *_: seen.append(time.time()))
    yield seen
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def pidfile(tmp_path: Path) -> str:
    (tmp_path / "served.pid").write_text(str(os.getpid()))
    return str(tmp_path / "served.pid")


UNSEEN: dict[str, tuple[str, Any, str]] = {
    "pid file": ("HMS_PIDFILE", ("pidfd_open", no_process), "cannot look for the process"),
    "name": ("HMS_PROCESS", ("listdir", no_process), "cannot look for the process"),
    "probe": ("HMS_PROBE_COMMAND", ("posix_spawnp", no_process), "cannot run the probe true"),
}


@pytest.mark.parametrize("how", UNSEEN)
def test_a_process_that_cannot_be_looked_for_speaks_against_no_patch(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch, deaf: Path, how: str
) -> None:
    name, broken, words = UNSEEN[how]
    value = {"HMS_PIDFILE": str(deaf), "HMS_PROCESS": deaf.stem, "HMS_PROBE_COMMAND": "true"}[name]
    bench = Bench(configure(HMS_CONFIRM_TIMEOUT="1", **{name: value}), hands)
    bench.settle()
    told: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, *broken)
        bench.settle(3, seconds=5.0)
        assert words in bench.applier.trouble()
        assert bench.applier.failures() == {}
        assert bench.conf.read_text() == "a: 3\n"  # and not taken back: nothing speaks against it
        assert bench.settle(2, seconds=5.0) == "a: 2\n"
    send = signal.pidfd_send_signal

    def noted(handle: int, number: int) -> None:
        told.append(number)
        send(handle, number)

    monkeypatch.setattr(signal, "pidfd_send_signal", noted)
    assert bench.settle(2, seconds=40.0) == "a: 2\n"
    assert bench.applier.failures() == {}
    assert bench.applier.trouble() == ""
    assert bool(told) == (how != "probe")


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Path]:
    """A process that ignores the signal, and its pid file."""
    name = f"deaf{os.getpid()}"  # nobody else's
    shutil.copy(shutil.which("sleep") or "", tmp_path / name)
    with subprocess.Popen(["env", "--ignore-signal=HUP", tmp_path / name, "60"]) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        until(lambda: comm.read_text().strip() == name[:15], "it to ignore the signal")
        born = ticks()
        until(lambda: ticks() > born + 1, "it to be older than what is written next")
        (tmp_path / f"{name}.pid").write_text(str(process.pid))
        yield tmp_path / f"{name}.pid"
        process.kill()


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_was_not_edited(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(configure(), hands)
    bench.settle(2)
    real = conf_file.read_raw

    def full(path: str, *most: int) -> bytes:
        if path == bench.settings.conf:
            raise OSError(errno.EMFILE, "Too many open files", path)
        return real(path, *most)

    with monkeypatch.context() as patched:
        patched.setattr(conf_file, "read_raw", full)
        bench.conf.write_text("a: 2\nours: 1\n")
        bench.settle(2)
        assert "Too many open files" in bench.applier.trouble()
    assert bench.settle(2, seconds=40.0) == "a: 2\nours: 1\n"
    assert bench.settle() == "a: 1\nours: 1\n"


def test_the_reserve_is_given_up_while_few_others_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    before, limit = descriptors(os.getpid()), 1024
    monkeypatch.setattr(os, "sysconf", lambda _: limit)
    reserve = scarcity.Reserve()
    reserve.look(1.0)
    assert (reserve.spent, descriptors(os.getpid())) == (False, before + scarcity.RESERVE)
    limit = 255
    with monkeypatch.context() as patched:
        patched.setattr(os, "dup", no_process)
        reserve.look(1.0)
        assert (reserve.spent, descriptors(os.getpid())) == (True, before)
        reserve.look(2.0)
    reserve.look(2.5)  # not every time anew
    assert reserve.spent
    reserve.look(3.0)
    assert (reserve.spent, descriptors(os.getpid())) == (False, before + scarcity.RESERVE)
    scarcity._give_back(reserve._held)


SPARE = range(7) if THOROUGH else (0,)
TOOLS = [(spare, tool) for spare in range(7) for tool in ("HMS_CHECK", "HMS_PROBE_COMMAND")]


@pytest.mark.parametrize(("spare", "tool"), TOOLS if THOROUGH else [TOOLS[0], TOOLS[7]])
def test_a_window_ends_without_descriptors_to_spare(  # noqa: PLR0913, PLR0917 - fixtures
    new_agent: Callable[..., Agent],
    control: Control,
    acks: Acks,
    pidfile: str,
    hups: list[float],
    spare: int,
    tool: str,
) -> None:
    port = free_port()
    more = {"HMS_PIDFILE": pidfile, "HMS_BAKE": "1", "HMS_LISTEN": f"127.0.0.1:{port}", tool: "true"}
    agent = new_agent(**more).start()
    a_second = agent.a_second()
    end = time.time() + 2.5 * a_second
    control.put(1, {"rate_limit_rps": 60})
    control.put(2, {"rate_limit_rps": 70}, end=end)
    acks.wait_active(1, 2)
    limit(agent, descriptors(agent.pid) + spare)
    control.put(3, {"greeting": "new"})
    assert ask(port, "/livez")[0] == 200
    until(lambda: time.time() > end and "rate_limit_rps: 60" in agent.conf.read_text(), "the end in the file")
    assert time.time() - end < a_second
    until(lambda: hups and hups[-1] > end, "the signal")
    assert hups[-1] - end < a_second
    assert agent.running()
    limit(agent, 1024)
    until(lambda: healed(acks, 1, 3), "a report of both, and of no trouble", 40)
    assert agent.events("error") == []


@pytest.mark.parametrize("spare", SPARE)
def test_an_agent_that_starts_with_few_descriptors(  # noqa: PLR0913, PLR0917 - fixtures
    new_agent: Callable[..., Agent], control: Control, acks: Acks, pidfile: str, hups: list[float], spare: int
) -> None:
    """As many as it has when it rests, without the reserve, and a few. Too few to start with is said in a line."""
    agent = new_agent(HMS_PIDFILE=pidfile, HMS_CHECK="true").start()
    end = time.time() + 600
    control.put(1, {"rate_limit_rps": 60}, end=end)
    acks.wait_active(1)
    until(lambda: f"{agent.conf} (deleted)" not in names(agent.pid), "the old file to be let go")
    standing = descriptors(agent.pid) - scarcity.RESERVE
    agent.stop()
    agent.wrapper = ["prlimit", f"--nofile={standing + spare}:"]
    agent.start()
    control.put(2, {"rate_limit_rps": 70})
    until(lambda: "70" in agent.conf.read_text() or "Too many open files" in agent.log_path.read_text(), "either")
    limit(agent, 1024)
    until(lambda: healed(acks, 1, 2), "a report of both, and of no trouble", 40)
    assert hups
    agent.stop()
    agent.wrapper = ["prlimit", "--nofile=5:5"]
    result = agent.run("run", "--once")
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "5 descriptors are too few to start" in result.stderr


def test_a_window_ends_without_memory_to_spare(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, pidfile: str, hups: list[float]
) -> None:
    agent = new_agent(HMS_PIDFILE=pidfile, HMS_CHECK="true", HMS_BAKE="1").start()
    a_second = agent.a_second()
    end = time.time() + 2.5 * a_second
    control.put(1, {"rate_limit_rps": 60})
    control.put(2, {"rate_limit_rps": 70}, end=end)
    acks.wait_active(1, 2)
    taken = int(Path(f"/proc/{agent.pid}/statm").read_text().split()[0]) * resource.getpagesize()
    resource.prlimit(agent.pid, resource.RLIMIT_AS, (taken, resource.RLIM_INFINITY))
    control.put(3, {"greeting": "new"})
    until(lambda: time.time() > end and "rate_limit_rps: 60" in agent.conf.read_text(), "the end in the file")
    assert time.time() - end < 3 * a_second  # a turn that fails is made again
    until(lambda: hups and hups[-1] > end, "the signal")
    assert agent.running()
    resource.prlimit(agent.pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    until(lambda: healed(acks, 1, 3), "a report of both, and of no trouble", 40)
    assert agent.events("started")  # and every other line is an event, too


def healed(acks: Acks, *ids: int) -> bool:
    """Whether these are in effect by the last report, no patch was ever blocked, and nothing is in the way."""
    assert [report["failed"] for report in acks.reports() if report["failed"]] == []
    last = acks.last()
    return (last["active"], last["phase"], last["trouble"]) == (list(ids), "steady", "")


def limit(agent: Agent, count: int) -> None:
    _, most = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (count, most))


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def names(pid: int) -> list[str]:
    found = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            found.append(str(link.readlink()))
    return found
