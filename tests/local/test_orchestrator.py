"""The local orchestrator when its worker is killed between two steps, a port is taken, or the machine has trouble.

Real sidecars and real nginxes. The broker they look for is not there: they fold and render without it.
"""

import asyncio
import errno
import shutil
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil
import pytest

from hms_mgt.bootstrap import write_keys
from hms_mgt.domain.deployment import Deployment, Resources
from hms_mgt.orchestrators import home as homes
from hms_mgt.orchestrators import local, processes
from hms_mgt.orchestrators.home import Home
from hms_mgt.orchestrators.local import Address, LocalOrchestrator

from .killed import run

_SCALE = """
from hms_mgt.domain.deployment import Deployment, Resources
from hms_mgt.orchestrators.local import Address, LocalOrchestrator
where, name, nth, data, conf, replicas = sys.argv[1:]
die_after(where, name, int(nth))
data = Path(data)
orchestrator = LocalOrchestrator(data, Address("redis://127.0.0.1:1/0", "", data / "keys" / "trust.json"))
deployment = Deployment("IACB", "API", "1.0.0", conf, {}, "local")
asyncio.run(orchestrator.scale(deployment, Resources(int(replicas))))
"""
_CONF = "rate_limit_rps: 50\nlogging: {level: warn}\n"
_PATIENCE_S = 20.0
DEPLOYMENT = Deployment("IACB", "API", "1.0.0", _CONF, {}, "local")


class Fleet:
    """The instances under one data directory."""

    def __init__(self, data: Path) -> None:
        self.data = data
        write_keys(data / "keys")
        self.orchestrator = self.new_worker()

    def new_worker(self) -> LocalOrchestrator:
        return LocalOrchestrator(self.data, Address("redis://127.0.0.1:1/0", "", self.data / "keys" / "trust.json"))

    def scale(self, replicas: int) -> int:
        return asyncio.run(self.orchestrator.scale(DEPLOYMENT, Resources(replicas)))

    def until(self, replicas: int, enough: Callable[[], bool] = lambda: True) -> list[Home]:
        """Scale again and again, as the worker does, until all run and it is enough."""
        deadline = time.monotonic() + _PATIENCE_S
        while self.scale(replicas) != replicas or not enough():
            assert time.monotonic() < deadline, f"{self.homes()}\n{self.logs()}"
            time.sleep(0.05)
        return self.homes()

    def homes(self) -> list[Home]:
        return list(homes.homes(self.data))

    def logs(self) -> str:
        return "\n".join(path.read_text() for path in self.data.glob("instances/*/*/*.log"))

    def killed(self, where: str, name: str, nth: int, replicas: int = 1) -> None:
        """Have a worker scale that dies right after a step."""
        assert run(_SCALE, where, name, nth, self.data, _CONF, replicas)

    def processes(self, log: str) -> list[int]:
        """Return who has this log, of each group the first."""
        found = []
        for process in psutil.process_iter():
            try:
                out = Path(f"/proc/{process.pid}/fd/1").readlink()
                if out.is_relative_to(self.data) and out.name == log and process.ppid() not in found:
                    found.append(process.pid)
            except (OSError, psutil.Error):
                continue
        return found

    def answers(self) -> bool:
        return all(answers(one.url) for one in self.homes())


def answers(url: str) -> bool:
    try:
        return bool(httpx.get(url, trust_env=False).headers.get("X-RPS-Limit") == "50")
    except httpx.HTTPError:
        return False


@pytest.fixture
def fleet(place: Path) -> Iterator[Fleet]:
    assert shutil.which("nginx", path="/usr/sbin:/usr/bin") or shutil.which("nginx"), "these tests need nginx"
    made = Fleet(place)
    yield made
    local.stop(made.homes())
    assert made.processes("sidecar.log") == made.processes("served.log") == []


@pytest.mark.parametrize(("log", "nth"), [("sidecar.log", 1), ("served.log", 2)])
def test_a_process_whose_worker_died_before_it_noted_it_down_is_taken_over(fleet: Fleet, log: str, nth: int) -> None:
    fleet.killed("hms_mgt.orchestrators.processes", "start", nth)
    orphans = fleet.processes(log)
    assert len(orphans) == 1
    assert getattr(fleet.homes()[0], log.removesuffix(".log")) is None, "the record does not know it"

    (one,) = fleet.until(1, fleet.answers)
    assert one.sidecar is not None
    assert one.served is not None
    assert {"sidecar.log": one.sidecar.pid, "served.log": one.served.pid}[log] == orphans[0]
    assert fleet.processes("sidecar.log") == [one.sidecar.pid]
    assert fleet.processes("served.log") == [one.served.pid]
    assert "in use" not in fleet.logs()


def test_an_unrecorded_sidecar_with_another_environment_is_replaced(fleet: Fleet) -> None:
    fleet.killed("hms_mgt.orchestrators.processes", "start", 1)
    (orphan,) = fleet.processes("sidecar.log")
    (fleet.data / "agents").mkdir()
    (fleet.data / "agents" / "IACB.token").write_text("another")
    (one,) = fleet.until(1)
    assert one.sidecar is not None
    assert fleet.processes("sidecar.log") == [one.sidecar.pid] != [orphan]


@pytest.mark.parametrize("nth", [1, 2])
def test_what_no_record_knows_is_ended_as_well(fleet: Fleet, nth: int) -> None:
    fleet.killed("hms_mgt.orchestrators.processes", "start", nth)
    local.stop(fleet.homes())
    assert fleet.processes("sidecar.log") == fleet.processes("served.log") == []


@pytest.mark.parametrize(
    ("where", "name", "nth"),
    [("shutil", "rmtree", 1), ("pathlib", "Path.mkdir", 4), ("hms_mgt.orchestrators.home", "write_durably", 2)],
)
def test_a_half_made_instance_is_none_and_is_made_anew(fleet: Fleet, where: str, name: str, nth: int) -> None:
    fleet.killed(where, name, nth)
    assert fleet.homes() == []
    assert fleet.orchestrator.gone(DEPLOYMENT, ["api-1"]) == ["api-1"]
    (one,) = fleet.until(1, fleet.answers)
    assert one.name == "api-1"


def test_one_whose_removal_was_interrupted_is_gone_and_its_number_is_free(fleet: Fleet) -> None:
    fleet.until(2)
    fleet.killed("hms_mgt.orchestrators.local", "stop", 1)
    (fleet.data / "instances" / "IACB" / "api-2" / "instance.json").unlink()
    assert fleet.orchestrator.gone(DEPLOYMENT, ["api-1", "api-2"]) == ["api-2"]
    assert [one.name for one in fleet.until(2, fleet.answers)] == ["api-1", "api-2"]


@pytest.mark.parametrize("point", ["", "port recorded", "rendered gone", "template written"])
def test_an_instance_whose_port_was_taken_meanwhile_gets_another(fleet: Fleet, point: str) -> None:
    (before,) = fleet.until(1, fleet.answers)
    local.stop([before])
    with socket.create_server(("127.0.0.1", before.port)):
        if point == "port recorded":
            fleet.killed("hms_mgt.orchestrators.home", "write_durably", 1)
        elif point == "rendered gone":
            fleet.killed("pathlib", "Path.unlink", 2)
        elif point == "template written":
            fleet.killed("hms_mgt.orchestrators.home", "write_durably", 2)
        (after,) = fleet.until(1, fleet.answers)
    assert after.port != before.port
    assert after.name == before.name
    log = (after.path / "served.log").read_text()
    assert "in use" not in log, "it was not even tried on the taken port"


def test_one_that_died_of_a_taken_port_is_moved(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with monkeypatch.context() as patched:
            patched.setattr(local, "any_free", lambda: taken)
            patched.setattr(local, "becomes_free", lambda *_: True)  # it was, a moment before nginx took it
            fleet.scale(1)
        (after,) = fleet.until(1, fleet.answers)
        assert after.port != taken


def no_process(real: Callable[..., processes.Mark], log: str) -> Callable[..., processes.Mark]:
    def start(command: Sequence[str], environment: Mapping[str, str], path: Path) -> processes.Mark:
        if path.parent.name == "api-1" and path.name == log:
            raise OSError(errno.EAGAIN, "no more processes")
        return real(command, environment, path)

    return start


@pytest.mark.parametrize("log", ["sidecar.log", "served.log"])
def test_trouble_with_one_instance_stops_no_other_and_heals(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], log: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(processes, "start", no_process(processes.start, log))
        assert fleet.scale(2) == 1
        assert fleet.scale(2) == 1
    said = capfd.readouterr()
    assert (said.out + said.err).count("no more processes") == 1
    assert [one.name for one in fleet.until(2, fleet.answers)] == ["api-1", "api-2"]


def test_one_that_cannot_be_taken_down_counts_as_running(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "not yours to end")

    fleet.until(2)
    with monkeypatch.context() as patched:
        patched.setattr(processes, "stop", refused)
        assert fleet.scale(1) == 2
    assert fleet.scale(1) == 1
    assert [one.name for one in fleet.homes()] == ["api-1"]


def test_a_full_disk_leaves_no_half_made_instance(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, text: str, mode: int) -> None:
        raise OSError(errno.ENOSPC, f"no space for {path} {mode} {text[:1]}")

    with monkeypatch.context() as patched:
        patched.setattr(homes, "write_durably", full)
        assert fleet.scale(2) == 0
    assert fleet.homes() == []
    assert [one.name for one in fleet.until(2, fleet.answers)] == ["api-1", "api-2"]
