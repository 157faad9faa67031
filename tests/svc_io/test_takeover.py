"""An agent is upgraded and downgraded in place: today's release takes over the last one's state directory, and back.

The last release is the wheel kept beside the golden messages; it runs here as its own processes.
"""

import json
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from .rig import CONF, Acks, Agent, Control, Redis, until

(WHEEL,) = (Path(__file__).parents[1] / "contract" / "previous").glob("*.whl")
TODAY = str(Path(__file__).parents[2])
LIMIT, BOTH = CONF.replace("50 ", "200 "), CONF.replace("50 ", "200 ").replace('"hello"', '"hi"')
# The window holds this many times what the first start and its report took on this machine: five starts fit in well.
SPAN_SECONDS, STARTS = 5.0, 15


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("previous")
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(place)
    return str(place)


class Releases:
    """One agent's directories, and whichever release runs in them."""

    def __init__(self, agent: Agent, previous: str, told: Path) -> None:
        self.agent = agent
        self._previous = previous
        self._told = told

    def start(self, *, today: bool) -> None:
        self.agent.environment["PYTHONPATH"] = TODAY if today else self._previous
        count = len(self.agent.events("started"))
        self.agent.start()
        self.agent.wait_for("started", count + 1)

    def stop(self, *, killed: bool) -> None:
        if killed:
            self.agent.kill()
        else:
            self.agent.stop()

    def swap(self, *, today: bool, killed: bool) -> None:
        self.stop(killed=killed)
        self.start(today=today)

    def told(self) -> int:
        """How often the process was told to reload."""
        return len(self._told.read_text().splitlines()) if self._told.exists() else 0


@pytest.fixture
def releases(new_agent: Callable[..., Agent], previous: str, tmp_path: Path) -> Releases:
    told = tmp_path / "told"
    script = tmp_path / "tell.sh"
    script.write_text(f"#!/bin/sh\necho told >> {told}\n")
    script.chmod(0o755)
    return Releases(new_agent(HMS_RELOAD=str(script)), previous, told)


@pytest.mark.parametrize("killed", [False, True], ids=["stopped", "killed"])
def test_patches_in_force_go_through_both_changes(
    releases: Releases, control: Control, acks: Acks, redis_server: Redis, *, killed: bool
) -> None:
    agent = releases.agent
    control.put(1, {"rate_limit_rps": 200})
    began = time.time()
    releases.start(today=False)
    acks.wait_active(1)  # subscribed: what comes twice at the start is refused once
    end = time.time() + max(SPAN_SECONDS, STARTS * (time.time() - began))
    control.put(2, {"greeting": "hi"}, end=end)
    acks.wait_active(1, 2)
    assert agent.conf.read_text() == BOTH
    journal = agent.state / "journal.json"
    until(lambda: json.loads(journal.read_text())["active"] == [1, 2], "the journal to know it")
    told = releases.told()

    for today in (True, False, True, False):
        releases.swap(today=today, killed=killed)
        redis_server.client.delete("ack::IACB")
        acks.wait_active(1, 2)
        assert agent.conf.read_text() == BOTH
    assert releases.told() - told <= 4  # a start may tell the process what it cannot know it knows; nothing twice
    assert agent.events("failed") == agent.events("journal_moved_aside") == agent.events("refused") == []

    redis_server.kill()
    releases.swap(today=killed, killed=killed)
    assert time.time() < end, "the machine is too slow for this test's window"
    until(lambda: agent.conf.read_text() == LIMIT, "the end of the window", end - time.time() + 3)
    assert end <= time.time() < end + 1.5
    releases.swap(today=not killed, killed=killed)
    time.sleep(0.5)
    assert agent.conf.read_text() == LIMIT

    redis_server.start()
    control.client = redis_server.client
    control.end(1, 2)
    until(lambda: agent.conf.read_text() == CONF, "the way back to the base")


@pytest.mark.parametrize("today_first", [False, True])
def test_an_edit_made_between_two_releases_joins_the_base(
    releases: Releases, control: Control, acks: Acks, *, today_first: bool
) -> None:
    agent = releases.agent
    control.put(1, {"rate_limit_rps": 200})
    releases.start(today=today_first)
    acks.wait_active(1)
    releases.stop(killed=False)
    agent.conf.write_text(LIMIT.replace("300 ", "900 "))
    releases.start(today=not today_first)
    control.end(1)
    until(lambda: agent.conf.read_text() == CONF.replace("300 ", "900 "), "the edited base")


def test_pinned_keys_are_taken_over(releases: Releases, control: Control, acks: Acks) -> None:
    """The last release pins nothing on disk. Today's pins what the file says now, and the last one does not mind."""
    control.put(1, {"rate_limit_rps": 200})
    for today in (False, True, False):
        releases.start(today=today)
        acks.wait_active(1)
        releases.stop(killed=False)
    assert (releases.agent.state / "trust.json").exists()
    assert releases.agent.events("trust_refused") == []
