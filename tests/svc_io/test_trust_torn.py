"""Trust files that are only half there: while somebody writes them, and after the power went."""

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from hms_svc.address import SettingsError
from hms_svc.keyring import Keyring, given, known_trust, open_keyring
from hms_svc.settings import Settings, read
from hms_svc.trust import load_trust
from tests.conditions import THOROUGH

from .rig import Acks, Agent, Control, until
from .test_trust import beside, replace, running, signed


class Files:
    """A trust file that is written over in place; each version looks newer than the one before, however fast."""

    def __init__(self, directory: Path) -> None:
        self.path, self.state = directory / "trust.json", directory / "state"
        self.state.mkdir()
        self._now = 0.0

    def ring(self, control: Control) -> Keyring:
        self.path.write_text(control.trust())
        ring = Keyring(str(self.path), str(self.state), load_trust(control.trust()), kept=False)
        self.look(ring)
        return ring

    def look(self, ring: Keyring) -> bool:
        self._now += 2
        return ring.look(self._now, time.time())

    def write(self, data: bytes) -> None:
        self.path.unlink()  # another inode: the clock of a file system stands still for milliseconds
        self.path.write_bytes(data)


def torn(before: bytes, after: bytes) -> Iterator[bytes]:
    """What a reader may find while `after` is written over `before`, or when the power went. Never one of both."""
    for length in range(len(after) - 1):  # without the line end at its end it is whole
        yield after[:length]
    for length in range(0, len(after), 97):
        yield after[:length] + bytes(len(after) - length)
        if not before.startswith(after[:length]):
            yield after[:length] + before[length:]


def test_a_file_that_is_being_written_changes_nothing_until_it_is_whole(
    tmp_path: Path, control: Control, capfd: Any
) -> None:
    files = Files(tmp_path)
    ring = files.ring(control)
    before, after = control.trust().encode(), signed(control, beside(control)).encode()
    for data in torn(before, after):
        files.write(data)
        assert not files.look(ring), data
        assert ring.trust == load_trust(control.trust())
        assert ring.trouble.startswith("trust: malformed: ")
    files.write(after)
    assert files.look(ring)
    assert (ring.trust, ring.trouble) == (beside(control), "")
    said = capfd.readouterr().err.splitlines()
    assert [json.loads(line)["event"] for line in said] == ["trust_pinned", "trust_refused", "trust_moved_on"]


def test_a_running_agent_waits_for_the_rest(agent: Agent, control: Control, acks: Acks) -> None:
    running(agent, acks, control)
    text = signed(control, beside(control))
    with (agent.directory / "trust.json").open("r+") as file:
        file.truncate(0)
        agent.wait_for("trust_refused")
        for start in range(0, len(text), len(text) // 3):
            file.write(text[start : start + len(text) // 3])
            file.flush()
            control.put(start + 2, {"at": start})
            until(lambda: f"at: {start}" in agent.conf.read_text(), "work to go on")  # noqa: B023
    agent.wait_for("trust_moved_on")
    until(lambda: acks.last()["trouble"] == "", "no trouble any more")
    assert len(agent.events("trust_refused")) == 1


def test_who_begins_with_half_a_file_says_so_and_ends(new_agent: Any) -> None:
    agent = new_agent()
    path = agent.directory / "trust.json"
    settings = read(agent.environment)
    whole = path.read_bytes()
    for data in torn(b"", whole):
        path.write_bytes(data)
        with pytest.raises(SettingsError) as refused:
            given(settings)
        assert "\n" not in str(refused.value)
    for data in (b"", whole[: len(whole) // 2], bytes(len(whole)), b"\xff" * 99):
        path.write_bytes(data)
        done = agent.run("run")
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"hms-svc: HMS_TRUST={path}: ")
    assert not (agent.state / "trust.json").exists()


@pytest.fixture
def kept(new_agent: Any) -> tuple[Settings, Path]:
    """An agent's settings, and the file that keeps what it has pinned."""
    agent = new_agent()
    settings = read(agent.environment)
    agent.state.mkdir()
    open_keyring(settings, time.time())
    return settings, agent.state / "trust.json"


def test_a_kept_copy_that_is_half_there_is_made_anew_from_the_file(kept: tuple[Settings, Path], capfd: Any) -> None:
    settings, path = kept
    whole = path.read_bytes()
    capfd.readouterr()
    for data in islice(torn(b"", whole), 0, None, 1 if THOROUGH else 7):
        path.write_bytes(data)
        assert open_keyring(settings, time.time()).trust == load_trust(whole.decode())
        assert path.read_bytes() == whole
        events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
        assert events == ["trust_pin_unreadable", "trust_pinned"]
        assert known_trust(settings) == load_trust(whole.decode())


def test_both_half_there_is_a_bad_setting(kept: tuple[Settings, Path]) -> None:
    settings, path = kept
    path.write_text("{")
    Path(settings.trust).write_text("{")
    with pytest.raises(SettingsError, match=r"HMS_TRUST=.*strict JSON"):
        open_keyring(settings, time.time())


def test_a_restart_beside_half_a_file_goes_on_and_takes_it_when_it_is_whole(
    agent: Agent, control: Control, acks: Acks
) -> None:
    running(agent, acks, control)
    agent.kill()
    text = signed(control, beside(control))
    replace(agent, text[:700])
    agent.start()
    agent.wait_for("trust_refused")
    control.put(2, {"replicas": 6})
    acks.wait_active(1, 2)
    replace(agent, text)
    agent.wait_for("trust_moved_on")
