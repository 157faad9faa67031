"""No more threads, processes or descriptors to be had: the loop lives, endings go, and no patch is blamed for it."""

import _thread
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from hms_svc import command
from hms_svc.errand import Bell, Errand
from hms_svc.http import HttpError
from hms_svc.link import Link
from hms_svc.settings import Settings
from hms_svc.source import Source

from .bench import Bench
from .makers import Hands

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


def test_an_errand_that_cannot_begin_is_done_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_thread, "start_new_thread", no_thread)
    errand = Errand(Bell(), time.time)
    assert errand.done
    with pytest.raises(OSError, match="thread"):
        errand.take()
    assert not issubclass(HttpError, OSError)
