"""A broker that is slow, endless, huge, wrong or mad: refused or survived, never died from, and windows end on time.

The broker here is a fake (`fake_redis`), for no real Redis misbehaves like this; the agents are real processes.
"""

import itertools
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

import pytest

from hms_svc.connection import Connection
from tests.conditions import THOROUGH

from .brokers import show
from .fake_redis import FakeRedis, bulk, message
from .rig import Agent, Control, Redis, until

MIB = 1024 * 1024


@pytest.fixture
def new_fake() -> Iterator[Callable[[], FakeRedis]]:
    made: list[FakeRedis] = []

    def build() -> FakeRedis:
        made.append(FakeRedis())
        return made[-1]

    yield build
    for fake in made:
        fake.close()


def memory(agent: Agent, field: str = "VmRSS") -> int:
    lines = Path(f"/proc/{agent.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def cpu(agent: Agent) -> float:
    fields = Path(f"/proc/{agent.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def holds(agent: Agent, words: str) -> bool:
    return words in agent.conf.read_text()


def lost_at(agent: Agent, patch_id: int) -> float:
    """When the agent had taken a patch out of force, by its log."""
    event = until(lambda: [one for one in agent.events("effective") if patch_id in one["lost"]], "the end in the log")[
        0
    ]
    return datetime.fromisoformat(event["at"]).timestamp()


def _endless(start: bytes) -> Callable[[socket.socket], None]:
    def answer(client: socket.socket) -> None:
        client.sendall(start)
        while True:
            client.sendall(b"a" * 65_536)

    return answer


def _answers(**answers: bytes | Callable[[socket.socket], None] | None) -> Callable[[FakeRedis], None]:
    return lambda fake: fake.answers.update(answers)


def _everything(answer: bytes | None) -> Callable[[FakeRedis], None]:
    return lambda fake: fake.answers.update({"": answer, "PING": answer, "GET": answer, "XADD": answer})


def _drip(fake: FakeRedis) -> None:
    fake.pause = 0.1


ATTACKS: dict[str, Callable[[FakeRedis], None]] = {
    "one byte in 100 ms": _drip,
    "silence": _everything(None),
    "an endless line": _answers(GET=_endless(b"+"), XADD=_endless(b"+")),
    "an endless message": lambda fake: fake.send(
        b"*3\r\n$7\r\nmessage\r\n$9\r\ncfg::IACB\r\n$9999999\r\n" + b"a" * 3 * MIB
    ),
    "512 MiB announced on the channel": lambda fake: fake.send(b"*3\r\n$7\r\nmessage\r\n$1\r\nx\r\n$536870912\r\n"),
    "512 MiB announced as the snapshot": _answers(GET=b"$536870912\r\n", XADD=b"$536870912\r\n"),
    "100,000,000 elements": lambda fake: fake.send(b"*100000000\r\n"),
    "4 thousand million elements": _answers(GET=b"*4000000000\r\n", XADD=b"*4000000000\r\n"),
    "lists in lists in lists": lambda fake: fake.send(b"*1\r\n" * 20_000),
    "a 300 KiB message": lambda fake: fake.send(message(b"{" + b"x" * 300 * 1024)),
    "a 900 KiB snapshot": _answers(GET=bulk(b"[" * 900 * 1024)),
    "deep JSON": lambda fake: fake.send(message(b"[" * 200_000)),
    "LOADING": _everything(b"-LOADING Redis is loading the dataset in memory\r\n"),
    "READONLY": _everything(b"-READONLY You can't write against a read only replica.\r\n"),
    "MASTERDOWN": _everything(b"-MASTERDOWN Link with MASTER is down\r\n"),
    "not Redis": lambda fake: fake.send(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"),
    "answers to nobody": lambda fake: fake.send(
        b"*0\r\n*-1\r\n:1\r\n$-1\r\n*1\r\n*0\r\n+x\r\n*3\r\n$7\r\nmessage\r\n:1\r\n:2\r\n"
    ),
    "an error on the channel": lambda fake: fake.send(b"-ERR " + b"e" * 4000 + b"\r\n"),
}


def test_windows_end_on_time_and_the_agent_heals_whatever_the_broker_does(
    new_agent: Callable[..., Agent], new_fake: Callable[[], FakeRedis], control: Control
) -> None:
    """All attacks at once, each on an agent of its own, that holds one window when its attack begins."""
    fakes = {name: new_fake() for name in ATTACKS}
    agents = {name: new_agent(HMS_REDIS_URL=fake.url).start() for name, fake in fakes.items()}
    for agent in agents.values():
        agent.wait_for("effective")
    end = time.time() + 3
    snapshot, _ = control.step([control.entry(1, {"rate_limit_rps": 200}, end=end)], [])
    for fake in fakes.values():
        fake.snapshot = snapshot
    _tell_all(fakes, control)
    for agent in agents.values():
        until(partial(holds, agent, "200"), "the patch", 4)
    before = {name: memory(agent) for name, agent in agents.items()}
    control.revision += 1  # so that everybody asks for the snapshot of a revision that is not there yet
    _tell_all(fakes, control)
    control.revision -= 1
    for name, attack in ATTACKS.items():
        threading.Thread(target=attack, args=(fakes[name],), daemon=True).start()
    for name, agent in agents.items():
        until(partial(holds, agent, ": 50 "), f"the window's end during {name}", 10)
    late = {name: lost_at(agent, 1) - end for name, agent in agents.items()}
    show({name: round(span, 3) for name, span in late.items()})
    assert max(late.values()) < 1, late
    grown = {name: (memory(agent, "VmHWM") - before[name]) / MIB for name, agent in agents.items()}
    show({name: round(size, 1) for name, size in grown.items()})
    assert max(grown.values()) < 10, grown
    _heal(fakes, agents, control)


def _tell_all(fakes: dict[str, FakeRedis], control: Control) -> None:
    for fake in fakes.values():
        fake.send(message(control.heartbeat()))


def _heal(fakes: dict[str, FakeRedis], agents: dict[str, Agent], control: Control) -> None:
    snapshot, _ = control.step([control.entry(2, {"replicas": 6})], [1])
    for fake in fakes.values():
        fake.heal()
        fake.snapshot = snapshot
    since = time.monotonic()
    took = {}
    for name, agent in agents.items():
        assert agent.running(), name
        # Who lost the word of it together with the link has the reconcile's pace, 15 s at most, and an answer's time.
        until(partial(holds, agent, "replicas: 6"), f"the head after {name}", 17)
        took[name] = time.monotonic() - since
        assert agent.events("error") == [], name
    show({name: round(span, 2) for name, span in took.items()})


def test_a_message_may_come_byte_by_byte(
    new_agent: Callable[..., Agent], new_fake: Callable[[], FakeRedis], control: Control
) -> None:
    fake = new_fake()
    agent = new_agent(HMS_REDIS_URL=fake.url).start()
    agent.wait_for("effective")
    until(lambda: fake.listeners, "the subscription")
    _, delta = control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    fake.send(message(delta), pause=0.0001)
    until(lambda: "200" in agent.conf.read_text(), "the delta", 5)
    assert agent.events("unlinked") == []


def test_ten_thousand_bad_messages_a_second_cost_neither_a_window_nor_memory_nor_the_log(
    new_agent: Callable[..., Agent], control: Control, redis_server: Redis
) -> None:
    agent = new_agent().start()
    end = time.time() + (10 if THOROUGH else 2.5)
    control.put(1, {"rate_limit_rps": 200}, end=end)
    until(lambda: "200" in agent.conf.read_text(), "the patch")
    before, started, used = memory(agent), time.monotonic(), cpu(agent)
    sent = 0
    while time.time() < end + 0.5:
        pipeline = redis_server.client.pipeline(transaction=False)
        for _ in range(500):
            pipeline.publish("cfg::IACB", b'{"payloadType": "application/vnd.hms.stream+json", "payload": ""}')
        pipeline.execute()
        sent += 500
        time.sleep(max(0.0, started + sent / 10_000 - time.monotonic()))
    span = time.monotonic() - started
    share = (cpu(agent) - used) / span
    assert sent / span > 5_000
    show(f"{sent / span:.0f} messages/s, late by {lost_at(agent, 1) - end:.3f} s, {share:.0%} of a core")
    assert lost_at(agent, 1) - end < 1
    assert memory(agent, "VmHWM") - before < 6 * MIB
    assert share < 0.6
    assert len(agent.events("refused")) <= 10
    control.put(2, {"replicas": 6})
    until(lambda: "replicas: 6" in agent.conf.read_text(), "the next patch", 15)


def test_a_cut_by_the_server_is_mended(agent: Agent, control: Control, redis_server: Redis) -> None:
    """As at an output buffer's limit: the subscriber is thrown out, and what was in flight is lost."""
    agent.start()
    agent.wait_for("linked")
    redis_server.command("CLIENT", "KILL", "TYPE", "pubsub")
    snapshot, _ = control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    control.keep(snapshot)
    until(lambda: "200" in agent.conf.read_text(), "the snapshot after the new subscription", 5)


def test_attempts_are_at_least_a_second_apart_and_not_in_step(
    new_agent: Callable[..., Agent], new_fake: Callable[[], FakeRedis]
) -> None:
    """One that hangs up at once, one that says nothing, one that is up for 0.3 s."""
    closing, silent, flapping = new_fake(), new_fake(), new_fake()
    closing.serving = lambda _: False
    silent.answers[""] = silent.answers["SUBSCRIBE"] = None
    for fake in (closing, silent, flapping):
        new_agent(HMS_REDIS_URL=fake.url).start()
    until(lambda: closing.attempts and silent.attempts and flapping.attempts, "the first attempts")
    until_at = time.monotonic() + (20 if THOROUGH else 5)
    while time.monotonic() < until_at:
        time.sleep(0.3)
        _cut(flapping)
    for fake in (closing, silent, flapping):
        spans = _between_attempts(fake.attempts)
        show([round(span, 2) for span in spans])
        assert min(spans) >= 0.99
        assert statistics.mean(spans) < 4


def _cut(fake: FakeRedis) -> None:
    for listener in fake.listeners:
        try:
            listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            continue
    fake.listeners.clear()


def _between_attempts(accepted: list[float]) -> list[float]:
    """Both connections of one attempt count once: they come within moments."""
    begun = [at for before, at in zip([0.0, *accepted], accepted, strict=False) if at - before > 0.3]
    return [after - before for before, after in itertools.pairwise(begun)]


def test_a_snapshot_that_was_refused_is_asked_for_again_soon(
    new_agent: Callable[..., Agent], new_fake: Callable[[], FakeRedis], control: Control
) -> None:
    """As by a server that is just loading; the usual pace would be more than ten seconds."""
    fake = new_fake()
    fake.answers["GET"] = b"-LOADING Redis is loading the dataset in memory\r\n"
    agent = new_agent(HMS_REDIS_URL=fake.url).start()
    agent.wait_for("redis_refused")
    fake.snapshot, _ = control.step([control.entry(1, {"rate_limit_rps": 200})], [])
    fake.heal()
    until(partial(holds, agent, "200"), "the snapshot", 4)


def test_once_is_no_success_when_nobody_could_say_what_is_wanted(
    new_agent: Callable[..., Agent], new_fake: Callable[[], FakeRedis]
) -> None:
    fake = new_fake()
    agent = new_agent(HMS_REDIS_URL=fake.url)
    assert agent.run("run", "--once").returncode == 0
    fake.answers["GET"] = b"-NOPERM User agent has no permissions to access one of the keys used as arguments\r\n"
    assert agent.run("run", "--once").returncode == 1


def test_a_flood_is_taken_in_portions() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        theirs.sendall(message("x") * 300)
        assert [(len(replies), more) for replies, more in (connection.receive(128) for _ in range(3))] == [
            (128, True),
            (128, True),
            (44, False),
        ]
