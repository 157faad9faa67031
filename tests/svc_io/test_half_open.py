"""A link that breaks without a word is found within three seconds, whichever way and whenever it breaks.

By default each kind of break once; with HMS_THOROUGH=1 twenty times. All kinds at the same time, each on an agent of
its own.
"""

import os
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.conditions import THOROUGH

from .brokers import show
from .proxy import Proxy
from .rig import Acks, Agent, Control, Redis, until

ROUNDS = 20 if THOROUGH else 1
BREAKS = ("silent", "deaf", "mute", "AUTH", "SUBSCRIBE", "GET", "XADD", "PING")


@pytest.fixture
def new_proxy(redis_server: Redis) -> Iterator[Callable[[], Proxy]]:
    made: list[Proxy] = []

    def build() -> Proxy:
        made.append(Proxy(redis_server.port))
        return made[-1]

    yield build
    for proxy in made:
        proxy.close()


def _break(proxy: Proxy, kind: str) -> None:
    if kind.islower():
        setattr(proxy, kind, True)
        proxy.broke_at = time.time()
    else:
        proxy.break_at = kind.encode()


def _found(agent: Agent, proxy: Proxy) -> float:
    """Seconds from the break to the line in the log."""
    until(lambda: proxy.broke_at, "the break", 16)

    def after() -> list[float]:
        told = [datetime.fromisoformat(event["at"]).timestamp() for event in agent.events("unlinked")]
        return [at for at in told if at >= proxy.broke_at]

    return until(after, "the break to be found", 5)[0] - proxy.broke_at


@pytest.mark.timeout(600)
def test_every_break_is_found_within_three_seconds_and_mended_within_five(
    new_agent: Callable[..., Agent], new_proxy: Callable[[], Proxy], control: Control, redis_server: Redis, acks: Acks
) -> None:
    redis_server.command("ACL", "SETUSER", "agent", "on", ">word", "~*", "&*", "+@all")
    spans: dict[str, list[float]] = {kind: [] for kind in BREAKS}
    for number in range(1, ROUNDS + 1):
        proxies = {kind: new_proxy() for kind in BREAKS}
        for kind in ("AUTH", "SUBSCRIBE", "GET"):
            _break(proxies[kind], kind)
        agents = {
            kind: new_agent(
                HMS_REDIS_URL=proxy.url.replace("//", "//agent:word@"), HMS_INSTANCE=f"{kind}-{number}"
            ).start()
            for kind, proxy in proxies.items()
        }
        control.send(control.heartbeat())
        for kind in ("silent", "deaf", "mute", "XADD", "PING"):
            agents[kind].wait_for("linked")
            _break(proxies[kind], kind)
        for kind in BREAKS:
            spans[kind].append(_found(agents[kind], proxies[kind]))
        for proxy in proxies.values():
            proxy.heal()
        _mended(agents, acks)
    show({kind: f"{statistics.mean(found):.2f} (at most {max(found):.2f}) s" for kind, found in spans.items()})
    assert max(max(found) for found in spans.values()) < 3


def _mended(agents: dict[str, Agent], acks: Acks) -> None:
    names = {agent.environment["HMS_INSTANCE"] for agent in agents.values()}
    healed = time.time()

    def heard() -> bool:
        told = acks.reports()
        return names <= {one["instance"] for one in told if datetime.fromisoformat(one["at"]).timestamp() > healed}

    until(heard, "everybody to report again", 5)
    for agent in agents.values():
        assert agent.stop() == 0


def test_a_server_that_is_stopped_is_found_and_used_again(agent: Agent, acks: Acks, redis_server: Redis) -> None:
    agent.start()
    acks.wait_active()
    pid = redis_server._process.pid
    os.kill(pid, signal.SIGSTOP)
    since = time.monotonic()
    try:
        agent.wait_for("unlinked")
        assert time.monotonic() - since < 3
    finally:
        os.kill(pid, signal.SIGCONT)
    agent.wait_for("linked", 2)


def test_what_else_arrives_does_not_hide_that_nobody_hears_us(
    new_agent: Callable[..., Agent], new_proxy: Callable[[], Proxy], control: Control
) -> None:
    """The way to Redis is gone, and messages still come from it."""
    proxy = new_proxy()
    agent = new_agent(HMS_REDIS_URL=proxy.url).start()
    agent.wait_for("linked")
    proxy.break_at = b"PING"
    until(lambda: proxy.broke_at, "the break")
    proxy.silent, proxy.deaf = False, True
    while not agent.events("unlinked"):
        assert time.time() < proxy.broke_at + 2.9
        control.send(control.heartbeat())
        time.sleep(0.1)


def test_fifty_agents_do_not_come_back_at_once(tmp_path: Path) -> None:
    """Only their links, in this process: when each of fifty dials again after the same break."""
    from hms_svc.errand import Bell  # noqa: PLC0415 - the one test that goes inside
    from hms_svc.link import Link  # noqa: PLC0415 - as above
    from hms_svc.settings import read  # noqa: PLC0415 - as above

    environment = {"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"}
    settings = read(environment | {"HMS_STATE": str(tmp_path), "HMS_CONF": str(tmp_path / "c.yml")})
    for steady in (True, False):
        links = [Link(settings, Bell()) for _ in range(50)]
        for link in links:
            link._steady, link._dialled_at = steady, 100.0
            link._lost("a test", 100.0 if not steady else 200.0)
        wakes = sorted(link.wake_at() for link in links)
        assert wakes[0] >= (200.0 if steady else 101.0)
        assert wakes[-1] <= (201.0 if steady else 102.75)
        crowds = [sum(at <= other < at + 0.1 for other in wakes) for at in wakes]
        assert max(crowds) <= 20


def test_a_long_outage_does_not_wear_the_link_out(tmp_path: Path) -> None:
    from hms_svc.errand import Bell  # noqa: PLC0415 - as above
    from hms_svc.link import Link  # noqa: PLC0415 - as above
    from hms_svc.settings import read  # noqa: PLC0415 - as above

    environment = {"TENANT": "T", "HMS_SERVICE": "S", "HMS_VERSION": "1.0.0", "HMS_TRUST": "t"}
    link = Link(read(environment | {"HMS_STATE": str(tmp_path)}), Bell())
    for number in range(5000):
        link._lost("a test", float(number))
    assert link.wake_at() < 5003
