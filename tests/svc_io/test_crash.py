"""Killed or refused at any system call: a reader sees the old or the new file, and the base is never lost."""

import re
import shutil

import pytest

from .rig import CONF, Acks, Agent, Control, until

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace injects the faults")

CHANGED = CONF.replace("50 ", "200 ")
STRACE = ["strace", "-f", "-qq", "--seccomp-bpf"]


@pytest.mark.parametrize(
    ("call", "when"), [("fsync", n) for n in range(1, 8)] + [("rename", n) for n in range(1, 5)] + [("fchmod", 2)]
)
def test_killed_at_a_system_call(agent: Agent, control: Control, call: str, when: int) -> None:
    agent.conf.chmod(0o640)
    control.put(1, {"rate_limit_rps": 200})
    agent.wrapper = [*STRACE, "-o", "/dev/null", "-e", f"inject={call}:signal=KILL:when={when}"]
    killed = agent.run("run", "--once")
    assert killed.returncode != 0, "the fault was not met"
    assert agent.conf.read_text() in (CONF, CHANGED)
    assert agent.conf.stat().st_mode & 0o7777 == 0o640
    agent.wrapper = []
    assert agent.run("run", "--once").returncode == 0
    assert agent.conf.read_text() == CHANGED
    control.end(1)
    assert agent.run("run", "--once").returncode == 0
    assert agent.conf.read_text() == CONF
    assert agent.conf.stat().st_mode & 0o7777 == 0o640


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
