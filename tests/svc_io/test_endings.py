"""An ending waits for nothing: not for other endings, not for what is confirmed, checked or restored at the time."""

import errno
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hms_svc.errand import Errand
from hms_svc.messages import Patch
from hms_svc.settings import Settings
from tests.conditions import THOROUGH

from .bench import Bench
from .makers import Hands, patch
from .rig import until

Configure = Callable[..., Settings]
LIMIT_SECONDS = 0.3


class Windows:
    """Patches with ends, and how late each left the file, on a clock moved by hand in steps of 5 ms.

    A command that answers takes no time on that clock; `real` lets the clock go as fast as the real one.
    """

    def __init__(self, bench: Bench, ends: Sequence[float], *, real: bool = False) -> None:
        self.bench = bench
        self._real = real
        self.patches = {number: patch(number, {f"k{number}": number}) for number in range(1, len(ends) + 1)}
        self.ends = dict(enumerate(ends, 1))
        self.late: dict[int, float] = {}

    def wanted(self) -> list[Patch]:
        return [one for number, one in self.patches.items() if self.bench.hands.at < self.ends[number]]

    def run(self, until: float, disturb: Callable[[], list[Patch]] = list) -> None:
        hands = self.bench.hands
        while hands.at < until:
            self.bench.applier.step([*self.wanted(), *disturb()])
            text = self.bench.conf.read_text()
            for number, end in self.ends.items():
                if hands.at >= end and number not in self.late and f"k{number}:" not in text:
                    self.late[number] = hands.at - end
            self._wait()

    def _wait(self) -> None:
        if self._real:
            began = time.monotonic()
            time.sleep(0.005)
            self.bench.hands.forward(time.monotonic() - began)
            return
        deadline = time.monotonic() + 0.02
        pauses = self.bench.applier._runner.pause, self.bench.applier._runner.before
        while any(isinstance(pause, Errand) and not pause.done for pause in pauses) and time.monotonic() < deadline:
            time.sleep(0.0005)
        self.bench.hands.forward(0.005)


def clusters(start: float, count: int) -> list[float]:
    """Random ends, a few of them within each second."""
    rng = random.Random(11)  # noqa: S311 - not a secret
    seconds = [start + rng.randrange(count // 5) for _ in range(count)]
    return [second + rng.random() for second in seconds]


def test_two_ends_just_after_each_other(configure: Configure, hands: Hands) -> None:
    windows = Windows(Bench(configure(), hands), [hands.at + 1, hands.at + 1.05, hands.at + 1.06])
    windows.run(hands.at + 2)
    assert max(windows.late.values()) < 0.12
    assert windows.late[1] < 0.02


@pytest.mark.parametrize("slow", ["confirm", "reload", "check", "nothing"])
def test_clusters_of_ends_while_additions_are_under_way(
    configure: Configure, hands: Hands, tmp_path: Path, slow: str
) -> None:
    more = {
        "confirm": {"HMS_PROBE_COMMAND": f"sh -c '! grep -q extra {tmp_path}/conf.yml'"},  # additions never confirm
        "reload": {"HMS_RELOAD": f"sh -c 'if grep -q extra {tmp_path}/conf.yml; then exit 1; fi'"},
        "check": {"HMS_CHECK": "sh -c 'if grep -q extra {conf}; then sleep 1; exit 1; fi'"},
        "nothing": {},
    }
    ends = clusters(hands.at + 2, 200 if THOROUGH else 15)
    windows = Windows(Bench(configure(**more[slow]), hands), ends)
    number = iter(range(1000, 2000))
    extra = [patch(next(number), {"extra": 1})]

    def disturb() -> list[Patch]:
        if hands.at % 1 < 0.005:
            extra[0] = patch(next(number), {"extra": hands.at})
        return extra if hands.at > ends[0] - 1 else []

    windows.run(max(ends) + 1, disturb)
    late = sorted(windows.late.values())
    assert len(late) == len(ends)
    assert late[-1] < LIMIT_SECONDS


def test_a_check_that_hangs_delays_an_ending_once_however_many_end_meanwhile(
    configure: Configure, hands: Hands, tmp_path: Path
) -> None:
    hang = tmp_path / "hang"
    bench = Bench(configure(HMS_CHECK=f"sh -c 'test ! -e {hang} || sleep 5'"), hands)
    ends = [hands.at + 1 + n * 0.04 for n in range(20)]
    windows = Windows(bench, ends, real=True)
    windows.run(ends[0] - 0.2)
    hang.touch()
    windows.run(ends[-1] + 1)
    assert len(windows.late) == len(ends)
    assert max(windows.late.values()) < LIMIT_SECONDS


def test_two_reload_commands_never_run_at_once(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    """The first is still running when a window ends: the file changes at once, its command waits for the other."""
    log, conf = tmp_path / "log", tmp_path / "conf.yml"
    command = f"sh -c 'echo begin >> {log}; grep -q k2 {conf} && sleep 1; echo end >> {log}'"
    windows = Windows(Bench(configure(HMS_RELOAD=command), hands), [hands.at + 1, hands.at + 1.001 + 0.1])
    windows.run(hands.at + 3)
    until(lambda: log.read_text().endswith("end\n"), "the last command's end")
    said = log.read_text().split()
    assert len(said) >= 6
    assert said == ["begin", "end"] * (len(said) // 2)
    assert max(windows.late.values()) < 0.12


@pytest.mark.parametrize("with_good", [True, False])
def test_a_check_that_refuses_everything_holds_no_window_open(
    configure: Configure, hands: Hands, tmp_path: Path, *, with_good: bool
) -> None:
    """Not even the base passes, as when the check's own program is gone: the window's end is the law."""
    bench = Bench(configure(HMS_CHECK=f"sh -c 'test ! -e {tmp_path}/no'", HMS_BAKE="1" if with_good else "600"), hands)
    bench.pass_time([], 2.0)
    windows = Windows(bench, [hands.at + 1, hands.at + 3, hands.at + 9.5])
    windows.run(hands.at + 0.9)
    (tmp_path / "no").touch()
    windows.run(hands.at + 12)
    assert bench.conf.read_text() == "a: 1\n"
    assert max(windows.late.values()) < LIMIT_SECONDS
    assert bench.applier.failures() == {}


def test_a_template_that_is_gone_holds_no_window_open(configure: Configure, hands: Hands, tmp_path: Path) -> None:
    (tmp_path / "limits.tmpl").write_text("limit {{a}}\n")
    bench = Bench(configure(HMS_RENDER=f"{tmp_path}/limits.tmpl:{tmp_path}/limits.conf"), hands)
    windows = Windows(bench, [hands.at + 1, hands.at + 3])
    windows.run(hands.at + 0.5)
    (tmp_path / "limits.tmpl").unlink()
    windows.run(hands.at + 5)
    assert bench.conf.read_text() == "a: 1\n"
    assert max(windows.late.values()) < LIMIT_SECONDS
    bench.pass_time([patch(9, {"a": 9})], 2.0)
    assert "the template does not exist" in bench.applier.trouble()


def test_a_disk_that_refuses_is_asked_each_second_while_something_ended_is_in_the_file(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trying ever more seldom is for what is new: an ending may not have to wait for half a minute after the fault."""
    bench = Bench(configure(), hands)
    bench.settle(5)
    with monkeypatch.context() as broken:
        broken.setattr("os.rename", full)
        assert bench.pass_time([], 60) == "a: 5\n"
        assert "No space left" in bench.applier.trouble()
    assert bench.pass_time([], 1.2) == "a: 1\n"
    assert bench.applier.trouble() == ""


def test_what_is_new_waits_for_the_disk_and_what_ended_does_not(
    configure: Configure, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing new may be in the files that the journal does not know of; without what ended they need no intent."""
    bench = Bench(configure(), hands)
    bench.settle(5)
    with monkeypatch.context() as broken:
        broken.setattr("hms_svc.journal.JournalFile.save", full)
        assert bench.settle(7, seconds=1) == "a: 1\n"
        assert bench.applier.failures() == {}
    assert bench.settle(7) == "a: 7\n"


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
