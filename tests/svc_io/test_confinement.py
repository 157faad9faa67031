"""The agent as pods run it: the served process's user, no capability, no new privileges, a root that cannot be written.

These need root, to become somebody with less.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conditions import lacks

from .rig import Acks, Agent, Control, Redis, until

UID = 10_001
NOBODY = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
NO_RIGHTS = [*NOBODY, "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
# Everything is read-only, /tmp too; then the directories that are given become writable again, and nothing else.
READ_ONLY = """
mount --make-rprivate /
for directory in "$1" "$2"; do mount --bind "$directory" "$directory"; done
mount --bind /tmp /tmp
for place in / /tmp /dev/shm; do mount -o remount,bind,ro "$place" || exit 1; done
for place in / /tmp /var/tmp /dev/shm; do ! touch "$place/written" 2>/dev/null || exit 1; done
shift 2
exec "$@"
"""
SERVED = 'trap "echo told >> $0" HUP; echo $$ > $1; while :; do sleep 0.05; done'


def able() -> bool:
    """Whether this machine lets us play that."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("setpriv", "unshare"))):
        return False
    python = [*NO_RIGHTS, sys.executable, "-c", "import nacl, yaml"]
    spaces = ["unshare", "-m", "true"]
    return all(subprocess.run(one, capture_output=True, check=False).returncode == 0 for one in (python, spaces))


if not able():
    lacks("root, setpriv, unshare, and a Python that other users can run")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users reach: pytest's own are root's alone."""
    directory = Path(tempfile.mkdtemp(prefix="hms-", dir="/var/tmp"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def confined(place: Path, control: Control, redis_server: Redis) -> Iterator[Agent]:
    """An agent of its own user whose conf and state directories are its own."""
    agent = Agent(place / "agent", control, redis_server.url)
    agent.state.mkdir()
    for path in (agent.conf.parent, agent.conf, agent.state):
        os.chown(path, UID, UID)
    agent.conf.chmod(0o640)
    agent.wrapper = NO_RIGHTS
    yield agent
    agent.cleanup()
    sys.stdout.write(agent.log_path.read_text())


@pytest.fixture
def served(place: Path) -> Iterator[tuple[Path, Path]]:
    """A process of the same user that notes each HUP: its pid file and its notes."""
    home = place / "served"
    home.mkdir()
    os.chown(home, UID, UID)
    pid, notes = home / "pid", home / "notes"
    process = subprocess.Popen([*NOBODY, "sh", "-c", SERVED, str(notes), str(pid)])
    until(pid.exists, "the served process")
    yield pid, notes
    process.kill()
    process.wait()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_nothing_is_needed_but_its_two_directories(
    confined: Agent, control: Control, acks: Acks, served: tuple[Path, Path]
) -> None:
    pidfile, notes = served
    confined.environment |= {"HMS_PIDFILE": str(pidfile), "HOME": "/nonexistent"}
    confined.wrapper = [
        *("unshare", "-m", "sh", "-c", READ_ONLY, "sh", str(confined.conf.parent), str(confined.state)),
        *NO_RIGHTS,
    ]
    before = confined.conf.stat()
    confined.start()
    control.put(1, {"rate_limit_rps": 60})
    acks.wait_active(1)
    until(notes.exists, "the signal")
    after = confined.conf.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    me = status(confined.pid)
    assert me["Uid"].split() == [str(UID)] * 4
    assert [me[name] for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] == ["0" * 16] * 4
    assert me["NoNewPrivs"] == "1"
    confined.kill()
    confined.start()
    control.end(1)
    control.put(2, {"replicas": 6})
    acks.wait_active(2)
    assert acks.last()["trouble"] == ""


def test_a_conf_of_somebody_else_is_said_in_plain_words_and_left_as_it_is(
    confined: Agent, control: Control, acks: Acks
) -> None:
    os.chown(confined.conf, 0, 0)
    confined.conf.chmod(0o644)
    before = confined.conf.read_bytes()
    confined.start()
    control.put(1, {"rate_limit_rps": 60})
    until(lambda: "belongs to" in acks.last().get("trouble", ""), "the trouble in a report")
    trouble = acks.last()["trouble"]
    assert trouble.startswith("written: ")
    assert f"user 0 and group 0, and we run as user {UID}" in trouble
    assert confined.conf.read_bytes() == before
    assert [path.name for path in confined.conf.parent.iterdir()] == ["conf.yml"]
    os.chown(confined.conf, UID, UID)
    acks.wait_active(1)


def test_the_group_of_a_shared_volume_is_kept(confined: Agent, control: Control, acks: Acks) -> None:
    """As with a pod's fsGroup: the file's group is one that the agent is in, if not its first one."""
    shared = 10_002
    os.chown(confined.conf, UID, shared)
    confined.wrapper = [word.replace("--clear-groups", f"--groups={shared}") for word in NO_RIGHTS]
    confined.start()
    control.put(1, {"rate_limit_rps": 60})
    acks.wait_active(1)
    assert (confined.conf.stat().st_uid, confined.conf.stat().st_gid) == (UID, shared)
