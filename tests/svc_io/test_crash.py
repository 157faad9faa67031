"""Killed or refused at any system call: a reader sees the old or the new file, and the base is never lost.

By default a spread over the calls that change a file and over all others; with HMS_THOROUGH=1 each one there is.
"""

import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import hms_svc
from tests.conditions import THOROUGH, need

from .rig import CONF, Acks, Agent, Control, until
from .stub import Stub

need("strace")

CHANGED = CONF.replace("50 ", "200 ")
STRACE = ["strace", "-f", "-qq", "--seccomp-bpf"]
CODE = Path(hms_svc.__file__).parent
CHANGING = ("fsync", "rename", "fchmod", "fchown", "unlink", "pidfd_send_signal")
TEMPLATE = "limit {{rate_limit_rps}};\n"
OWNERS = {"conf.yml": (0o640, 1, 1), "limits.conf": (0o604, 2, 3)}


class Point(NamedTuple):
    """Where to kill: at the nth call of a kind the agent's own thread makes."""

    call: str
    nth: int


class Bench:
    """An agent beside a stub, with what it starts from kept so that it can start from it again and again."""

    def __init__(self, agent: Agent, stub: Stub, kept: Path) -> None:
        self.agent, self.stub, self.kept = agent, stub, kept
        self.rendered = agent.conf.parent / "limits.conf"

    @property
    def files(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in (self.agent.conf, self.rendered)}

    def dress(self) -> None:
        for path in (self.agent.conf, self.rendered):
            mode, uid, gid = OWNERS[path.name]
            os.chown(path, uid, gid)
            path.chmod(mode)

    def dressed(self) -> bool:
        stats = {path.name: path.stat() for path in (self.agent.conf, self.rendered)}
        return {name: (stat.st_mode & 0o7777, stat.st_uid, stat.st_gid) for name, stat in stats.items()} == OWNERS

    def keep(self) -> None:
        """From here on `begin_again` comes back to this."""
        for name in ("conf", "state"):
            shutil.rmtree(self.kept / name, ignore_errors=True)
            shutil.copytree(self.agent.directory / name, self.kept / name)

    def begin_again(self) -> None:
        for name in ("conf", "state"):
            shutil.rmtree(self.agent.directory / name)
            shutil.copytree(self.kept / name, self.agent.directory / name)
        self.dress()

    def leftovers(self) -> list[str]:
        places = (self.agent.conf.parent, self.agent.state)
        return [path.name for place in places for path in place.iterdir() if path.name.endswith(".hms-new")]

    def run(self) -> int:
        return self.agent.run("run", "--once").returncode

    def traced(self, *options: str) -> int:
        self.agent.wrapper = ["strace", "-f", "-qq", *options]
        code = self.run()
        self.agent.wrapper = []
        return code

    def points(self) -> list[Point]:
        """Every call the agent's own thread makes from the loop's begin to its end, seen in one run."""
        trace = self.agent.directory / "trace"
        assert self.traced("-o", str(trace)) == 0
        lines = trace.read_text().splitlines()
        main = [line.split(maxsplit=1)[1] for line in lines if line.split()[0] == lines[0].split()[0]]
        calls = [match[1] for line in main if (match := re.match(r"(\w+)\(", line))]
        begin = next(number for number, line in enumerate(main) if "rt_sigaction(SIGTERM, {sa_handler=0x" in line)
        end = max(number for number, call in enumerate(calls) if call == "sendto")
        seen, everything = Counter(calls[:begin]), list[Point]()
        for call in calls[begin : end + 1]:
            seen[call] += 1
            everything.append(Point(call, seen[call]))
        changing = [point for point in everything if point.call in CHANGING]
        return everything if THOROUGH else [*changing[::5], *everything[:: max(1, len(everything) // 3)]]


@pytest.fixture
def bench(new_agent: Callable[..., Agent], tmp_path: Path) -> Iterator[Bench]:
    (tmp_path / "limits.tmpl").write_text(TEMPLATE)
    (tmp_path / "check.sh").write_text("grep -q limit $1 && grep -q rate_limit_rps $2")
    agent = new_agent(HMS_CHECK=f"sh {tmp_path}/check.sh {{rendered}} {{conf}}", HMS_RENDER="a:b")
    rendered = agent.conf.parent / "limits.conf"
    # Calls are counted from the start, imports included: the code must not be touched between two runs.
    shutil.copytree(CODE, tmp_path / "code" / "hms_svc")
    agent.environment["PYTHONPATH"] = str(tmp_path / "code")
    agent.environment["HMS_RENDER"] = f"{tmp_path}/limits.tmpl:{rendered}"
    rendered.write_text("limit 50;\n")
    stub = Stub(tmp_path / "stub", agent.conf, rendered)
    agent.environment["HMS_PIDFILE"] = str(stub.pidfile)
    made = Bench(agent, stub, tmp_path / "kept")
    made.dress()
    yield made
    stub.stop()


def kill_everywhere(bench: Bench, new: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    old = bench.files
    assert old != new
    bench.keep()
    points, missed = bench.points(), list[Point]()
    for point in points:
        bench.begin_again()
        if bench.traced("-o", "/dev/null", "-e", f"inject={point.call}:signal=KILL:when={point.nth}") == 0:
            missed.append(point)
        assert all(text in (old[name], new[name]) for name, text in bench.files.items()), point
        assert bench.dressed(), point
        assert bench.run() == 0, point
        assert bench.files == new, point
        assert bench.dressed(), point
        assert bench.leftovers() == [], point
        until(lambda: bench.stub.loaded() == "".join(new.values()), f"the process to know the files, after {point}")
    with capsys.disabled():
        print(f"[killed at {len(points) - len(missed)} points of {len(points)}]", end=" ")  # noqa: T201
    # One run makes a few calls less than another.
    assert len(missed) <= len(points) * 0.2, missed


@pytest.mark.timeout(3600 if THOROUGH else 180)
def test_killed_anywhere_while_applying(
    bench: Bench, control: Control, acks: Acks, capsys: pytest.CaptureFixture[str]
) -> None:
    control.publish()
    assert bench.run() == 0
    control.put(1, {"rate_limit_rps": 200})
    kill_everywhere(bench, {"conf.yml": CHANGED, "limits.conf": "limit 200;\n"}, capsys)
    assert acks.last()["active"] == [1]
    control.end(1)
    assert bench.run() == 0
    assert bench.files == {"conf.yml": CONF, "limits.conf": "limit 50;\n"}


@pytest.mark.timeout(3600 if THOROUGH else 180)
def test_killed_anywhere_while_reverting(
    bench: Bench, control: Control, acks: Acks, capsys: pytest.CaptureFixture[str]
) -> None:
    control.put(1, {"rate_limit_rps": 200})
    assert bench.run() == 0
    control.end(1)
    kill_everywhere(bench, {"conf.yml": CONF, "limits.conf": "limit 50;\n"}, capsys)
    assert acks.last()["active"] == []
    assert acks.receipts(1)[-1] == "reverted"


def test_the_journal_and_every_byte_are_on_disk_before_the_rename(agent: Agent, control: Control) -> None:
    control.put(1, {"rate_limit_rps": 200})
    trace = agent.directory / "trace"
    calls = "trace=openat,write,fsync,fdatasync,rename,renameat,renameat2"
    agent.wrapper = [*STRACE, "-y", "-o", str(trace), "-e", calls]
    assert agent.run("run", "--once").returncode == 0
    steps = list(filter(None, map(_step, trace.read_text().splitlines())))
    renamed = steps.index("rename .conf.yml.hms-new")
    assert {"write .conf.yml.hms-new", "fsync .conf.yml.hms-new"} <= set(steps[:renamed])
    assert steps[renamed - 4 : renamed + 2] == [
        "write .journal.json.hms-new",
        "fsync .journal.json.hms-new",
        "rename .journal.json.hms-new",
        "fsync state",
        "rename .conf.yml.hms-new",
        "fsync conf",
    ]


def _step(line: str) -> str:
    """`write NAME`, `fsync NAME` or `rename NAME` for the files that matter."""
    match = re.search(r'(write|fsync|rename)\((?:\d+<([^>]*)>|"([^"]*)")', line)
    if not match:
        return ""
    name = (match[2] or match[3]).rpartition("/")[2]
    return f"{match[1]} {name}" if name.endswith(".hms-new") or name in ("conf", "state") else ""


@pytest.mark.parametrize(
    "fault",
    [
        ("write", "ENOSPC", "No space left"),
        ("fsync", "EIO", "Input/output error"),
        ("rename", "EBUSY", "mount its directory"),
    ],
)
def test_a_disk_that_refuses_is_reported_and_tried_again(
    agent: Agent, control: Control, acks: Acks, fault: tuple[str, str, str]
) -> None:
    call, error, words = fault
    temp = agent.conf.parent / ".conf.yml.hms-new"
    agent.wrapper = [
        *STRACE, "-o", "/dev/null", "-P", str(temp), "-e", f"trace={call}", "-e", f"inject={call}:error={error}:when=1",
    ]  # fmt: skip
    agent.start()
    control.put(1, {"rate_limit_rps": 200})
    report = until(lambda: acks.last() if acks.last().get("phase") == "failed" else {}, "trouble in a report")
    assert words in report["trouble"]
    assert agent.conf.read_text() == CONF
    assert not temp.exists()
    acks.wait_active(1)
    assert agent.conf.read_text() == CHANGED
    assert acks.last()["trouble"] == ""


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 9}', '{"format": 1}'])
def test_a_journal_nobody_can_read_is_moved_aside(agent: Agent, control: Control, acks: Acks, content: str) -> None:
    agent.state.mkdir()
    (agent.state / "journal.json").write_text(content)
    control.put(1, {"rate_limit_rps": 200})
    agent.start()
    acks.wait_active(1)
    assert agent.wait_for("journal_moved_aside")
    assert (agent.state / "journal.unreadable").read_text() == content
    control.end(1)
    acks.wait_active()
    assert agent.conf.read_text() == CONF


def test_a_forged_patch_in_the_journal_is_refused(agent: Agent, control: Control, acks: Acks) -> None:
    control.put(1, {"rate_limit_rps": 200})
    agent.start()
    acks.wait_active(1)
    agent.kill()
    journal = agent.state / "journal.json"
    stranger = Control()
    sealed = stranger.entry(1, {"rate_limit_rps": 999})["decision"]["signatures"][0]["sig"]
    genuine = control.entries[1]["decision"]["signatures"][0]["sig"]
    journal.write_text(journal.read_text().replace(genuine, sealed))
    agent.start()
    refused = agent.wait_for("refused")
    assert refused[0]["reason"] == "wrong_signature"
    until(lambda: agent.conf.read_text() == CHANGED, "the genuine patch from the snapshot")
