"""A resolver that never answers (a fake: a socket nobody reads): windows end, SIGTERM ends, a check has an answer."""

import os
import secrets
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from hms_svc import probe
from hms_svc.candidate import make
from hms_svc.effect import NO_ANSWER, PROBE_SECONDS, _asked
from hms_svc.errand import Bell
from hms_svc.job import Job, Pause, ready
from hms_svc.settings import Settings
from tests.conditions import lacks, need

from .makers import Hands
from .rig import Acks, Agent, Control, Redis, until

NAME = "nobody.answers.test"


@pytest.fixture
def deaf_resolver(tmp_path: Path) -> Iterator[list[str]]:
    """A wrapper for programs that shall ask it, and for how long a look-up takes there: minutes."""
    if os.geteuid() != 0:
        lacks("mounting takes root")
    need("unshare", "mount")
    host = f"127.{'.'.join(str(byte % 254 + 1) for byte in secrets.token_bytes(3))}"
    conf = tmp_path / "resolv.conf"
    conf.write_text(f"nameserver {host}\noptions timeout:30 attempts:5\n")
    wrapper = ["unshare", "--mount", "sh", "-c", f'mount --bind {conf} /etc/resolv.conf && exec "$@"', "sh"]
    if subprocess.run([*wrapper, "true"], capture_output=True, check=False).returncode:
        lacks("nothing may be mounted here")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind((host, 53))
        yield wrapper


class Windows:
    """Three that an agent knows of before it is started again where no name is found."""

    def __init__(self, agent: Agent, control: Control, acks: Acks) -> None:
        self._agent = agent
        agent.start()
        acks.wait_active()
        self.a_second = agent.a_second()
        self._ends = {number: time.time() + (3 + number / 2) * self.a_second for number in (1, 2, 3)}
        for number, end in self._ends.items():
            control.put(number, {f"key{number}": number}, end=end)
        acks.wait_active(*self._ends)
        assert agent.stop() == 0

    def end_on_time(self) -> None:
        for number, end in self._ends.items():
            until(partial(self._gone, number), f"the end of {number}")
            assert time.time() - end < self.a_second

    def _gone(self, number: int) -> bool:
        return f"key{number}" not in self._agent.conf.read_text()


def threads(agent: Agent) -> int:
    return len(list(Path(f"/proc/{agent.pid}/task").iterdir()))


def test_windows_end_while_no_name_is_found(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, redis_server: Redis, deaf_resolver: list[str]
) -> None:
    """Redis and MGT are names."""
    agent = new_agent()
    windows = Windows(agent, control, acks)
    agent.wrapper = deaf_resolver
    agent.environment |= {
        "HMS_REDIS_URL": f"redis://{NAME}:{redis_server.port}/0",
        "HMS_MGT_URL": f"http://{NAME}:8080",
    }
    agent.start()
    windows.end_on_time()
    assert threads(agent) <= 3  # the loop, Redis' name, MGT's name
    since = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - since < windows.a_second


def test_a_probe_whose_name_is_not_found_holds_up_no_end_and_leaves_one_thread(
    new_agent: Callable[..., Agent], control: Control, acks: Acks, deaf_resolver: list[str]
) -> None:
    agent = new_agent()
    windows = Windows(agent, control, acks)
    agent.wrapper = deaf_resolver
    agent.environment |= {"HMS_PROBE_URL": f"http://{NAME}:8080/", "HMS_CONFIRM_TIMEOUT": "1"}
    agent.start()
    windows.end_on_time()
    control.put(4, {"key4": 4})
    last = until(lambda: acks.last() if acks.last()["failed"] else {}, "the words", 30)
    assert "no answer from the probe within 6 s: is its name resolved?" in str(last["failed"])
    assert threads(agent) <= 2
    since = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - since < windows.a_second


def test_a_check_and_a_dry_run_come_to_an_answer(agent: Agent, deaf_resolver: list[str]) -> None:
    agent.wrapper = deaf_resolver
    agent.environment["HMS_REDIS_URL"] = f"redis://user:hidden@{NAME}:6379/0"
    since = time.monotonic()
    with ThreadPoolExecutor(2) as both:
        checked, dry = both.map(lambda words: agent.run(*words), [("check",), ("run", "--dry-run")])
    assert time.monotonic() - since < 25
    (line,) = [line for line in checked.stdout.splitlines() if line.startswith("FAIL")]
    assert (checked.returncode, dry.returncode, line.split()[1]) == (1, 3, "redis")
    assert "no answer within 6 s: does a DNS server answer, and know the name?" in line
    assert "redis    still looking" in checked.stderr
    assert "does a DNS server answer" in dry.stderr
    assert "hidden" not in checked.stdout + checked.stderr + dry.stderr


def test_a_question_is_waited_for_in_bounds_and_not_asked_again_before_it_has_ended(
    configure: Callable[..., Settings], hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configure(HMS_PROBE_URL="http://127.0.0.1:9/")
    over, yes = threading.Event(), probe.Answer(True, True, "yes")
    asked: list[float] = []

    def slow(_: probe.Question) -> probe.Answer:
        asked.append(hands.at)
        over.wait(30)
        return yes

    monkeypatch.setattr(probe, "ask", slow)
    job = Job(settings, Bell(), hands.clock, make("a: 1\n", (), settings.conf, {}))
    question = probe.Question(settings.probe or pytest.fail("no probe is set"))
    steps = _asked(job, question)
    pause = next(steps)
    until(lambda: asked, "the question")
    assert not ready(pause, hands.at)
    hands.forward(PROBE_SECONDS)
    assert ready(pause, hands.at)
    assert answer(steps) == answer(_asked(job, question)) == NO_ANSWER
    over.set()
    until(lambda: job.unanswered[0].done, "the answer, too late")
    steps = _asked(job, question)
    pause = next(steps)
    until(lambda: ready(pause, hands.at), "an answer in time")
    assert answer(steps) == yes
    assert len(asked) == 2


def answer(steps: Generator[Pause, None, probe.Answer]) -> probe.Answer:
    """What a question comes to that has nothing more to wait for."""
    with pytest.raises(StopIteration) as ended:
        next(steps)
    answer: probe.Answer = ended.value.value
    return answer
