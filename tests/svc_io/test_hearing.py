"""What is told of the link by the way: staleness once, refusals a few times a minute."""

import json
import time
from pathlib import Path

import pytest

from hms_svc.desired import Desired
from hms_svc.hearing import Hearing
from hms_svc.link import Link
from hms_svc.log import LINES_A_MINUTE, Muffler
from hms_svc.report import Reporter
from hms_svc.settings import read
from hms_svc.source import Source
from hms_svc.timekeeper import Timekeeper
from hms_svc.trust import load_trust
from hms_svc.wire import Refused

from .makers import BriefBell
from .rig import SERVICE, TENANT, Control, free_port


class Ear:
    """A hearing whose Redis is away; what it is told is given to it by hand."""

    def __init__(self, directory: Path) -> None:
        self.control = Control()
        environment = {
            "TENANT": TENANT,
            "HMS_SERVICE": SERVICE,
            "HMS_VERSION": "2.1.0",
            "HMS_TRUST": "t",
            "HMS_STATE": str(directory),
            "HMS_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        }
        settings, bell = read(environment), BriefBell()
        self.link = Link(settings, bell)
        self.start = time.time()
        self.keeper = Timekeeper(0.0, self.start)
        self.desired = Desired(SERVICE, "2.1.0", "i", self.start)
        self.hearing = Hearing(
            TENANT,
            load_trust(self.control.trust()),
            self.desired,
            self.link,
            Source(settings, bell, self.link),
            Reporter({}),
            self.keeper,
        )

    def listen(self, now: float) -> None:
        self.keeper.tick(now, self.start + now)
        self.hearing.listen(now)


def events(capfd: pytest.CaptureFixture[str], *names: str) -> list[str]:
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    return [line["event"] for line in lines if line["event"] in names]


def test_silence_is_told_once_and_its_end_as_well(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ear = Ear(tmp_path)
    for now in (0.0, 29.0):
        ear.listen(now)
    assert events(capfd, "stale", "fresh") == []
    for now in (31.0, 32.0, 60.0):
        ear.listen(now)
    assert events(capfd, "stale", "fresh") == ["stale"]
    ear.link.inbox.append(ear.control.heartbeat(ear.start + 61).encode())
    for now in (61.0, 62.0):
        ear.listen(now)
    assert events(capfd, "stale", "fresh") == ["fresh"]


def test_an_old_word_does_not_end_the_silence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ear = Ear(tmp_path)
    ear.listen(0.0)
    ear.listen(40.0)
    ear.link.inbox.append(ear.control.heartbeat(ear.start + 5).encode())
    ear.listen(41.0)
    assert events(capfd, "stale", "fresh") == ["stale"]


def test_the_same_refusal_ten_thousand_times_is_a_few_lines(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ear = Ear(tmp_path)
    for number in range(10_000):
        ear.hearing.refuse(Refused("malformed", "no JSON"), number / 1000)
    ear.hearing.refuse(Refused("unsigned", "another reason"), 10.0)
    assert events(capfd, "refused") == ["refused"] * (LINES_A_MINUTE + 1)


def test_what_was_left_out_is_counted_in_the_next_minute() -> None:
    muffler = Muffler()
    passed = [muffler.pass_on("kind", now / 100) for now in range(100)]
    assert passed == [{}] * LINES_A_MINUTE + [None] * (100 - LINES_A_MINUTE)
    assert muffler.pass_on("other", 1.0) == {}
    assert muffler.pass_on("kind", 60.0) == {"left_out": 100 - LINES_A_MINUTE}
    assert muffler.pass_on("kind", 120.0) == {}
