"""An orchestrator of local processes: the wanted number of served processes, each with its sidecar.

The processes live on when the control plane dies, as pods do, and are found again by their records. A
served process or a sidecar that died is started again.
"""

import asyncio
import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import psutil
import structlog

from hms_mgt.domain.deployment import Deployment, Resources
from hms_mgt.orchestrators import home as homes
from hms_mgt.orchestrators import processes
from hms_mgt.orchestrators.free_port import any_free, becomes_free
from hms_mgt.orchestrators.home import Home
from hms_mgt.orchestrators.processes import Mark
from hms_mgt.orchestrators.served import served

_RENDER_PATIENCE_S = 5.0
_STOP_PATIENCE_S = 3.0
_PORT_PATIENCE_S = 1.0
# What a machine does to anybody: no memory for a process, no room on the disk, a file of somebody else.
_TROUBLE = (OSError, psutil.Error)
_A = TypeVar("_A")
_B = TypeVar("_B")
_log = structlog.get_logger()


class Address(NamedTuple):
    """Where the sidecars find the control plane."""

    redis_url: str
    mgt_url: str
    trust: Path


class LocalOrchestrator:
    """`ports.Orchestrator` over processes of this machine."""

    def __init__(self, data: Path, address: Address) -> None:
        self._data = data.resolve()
        self._address = address
        self._said: dict[str, str] = {}

    async def scale(self, deployment: Deployment, wanted: Resources) -> int:
        """Start or stop instances until `wanted.replicas` run. Returns how many run now.

        One that could not be taken down counts as running. What cannot be done now is said once, and tried again at
        the next call.
        """
        return await asyncio.to_thread(self._scale, deployment, wanted.replicas)

    def gone(self, deployment: Deployment, names: Sequence[str]) -> list[str]:
        """Return which of these instances were ours and are there no longer."""
        ours = _naming(deployment.service)
        tenant = self._data / "instances" / deployment.tenant
        return [name for name in names if ours.fullmatch(name) and not homes.exists(tenant / name)]

    def _scale(self, deployment: Deployment, wanted: int) -> int:
        mine = self._mine(deployment)
        self._tried(deployment.service, retire, mine[wanted:])
        made = [self._tried(deployment.service, self._create, deployment) for _ in range(wanted - len(mine))]
        kept = [*mine[:wanted], *filter(None, made)]
        for step in (self._with_port, self._with_sidecar, self._with_served):
            kept = [done for one in kept if (done := self._tried(one.name, step, one))]
        left = [one for one in mine[wanted:] if homes.exists(one.path)]
        return len(left) + sum(processes.alive(one.sidecar) and processes.alive(one.served) for one in kept)

    def _tried(self, subject: str, act: Callable[[_A], _B], given: _A) -> _B | None:
        """Do one thing. Trouble with it stops nothing else: it is said, once, and the answer is None."""
        try:
            return act(given)
        except _TROUBLE as error:
            words = f"{type(error).__name__}: {error}"
            if self._said.get(subject) != words:
                _log.warning("cannot scale", subject=subject, error=words)
            self._said[subject] = words
            return None

    def _mine(self, deployment: Deployment) -> list[Home]:
        key = (deployment.tenant, deployment.service, deployment.version)
        found = [one for one in homes.homes(self._data) if (one.tenant, one.service, one.version) == key]
        return sorted(found, key=lambda one: one.number)

    def _create(self, deployment: Deployment) -> Home:
        tenant = self._data / "instances" / deployment.tenant
        ours = _naming(deployment.service)
        # One whose making or removal was interrupted is no instance; its directory is made anew.
        there = filter(homes.exists, tenant.glob("*"))
        taken = {int(match[1]) for path in there if (match := ours.fullmatch(path.name))}
        number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        one = Home(
            path=tenant / f"{_prefix(deployment.service)}-{number}",
            tenant=deployment.tenant,
            service=deployment.service,
            version=deployment.version,
            number=number,
            port=any_free(),
        )
        homes.lay_out(one, {"conf/conf.yml": deployment.conf, **served(one.path, one.port).files})
        return one

    def _with_port(self, one: Home) -> Home:
        """Find a served process that runs unrecorded; where none runs, see that the next one has a port to itself."""
        if processes.alive(one.served):
            return one
        if one.served is not None:
            processes.sweep(one.served)
        found = _running(one.served_log)
        if found is not None:
            return _recorded(one._replace(served=found))
        if not becomes_free(one.port, _PORT_PATIENCE_S):
            one = _recorded(one._replace(port=any_free()))
        _put_anew(one)
        return one

    def _with_sidecar(self, one: Home) -> Home:
        environment = self._environment(one)
        digest = hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()
        if processes.alive(one.sidecar) and one.environment == digest:
            return one
        mark = _running(one.sidecar_log)
        if mark is None or not processes.has_environment(mark, environment):
            processes.stop([one.sidecar, mark], _STOP_PATIENCE_S)
            mark = processes.start((sys.executable, "-m", "hms_svc", "run"), environment, one.sidecar_log)
        return _recorded(one._replace(sidecar=mark, environment=digest))

    def _with_served(self, one: Home) -> Home:
        if processes.alive(one.served):
            return one
        what = served(one.path, one.port)
        if what.rendered is not None and not _appears(what.rendered):
            return one
        mark = processes.start(what.command, _passed_on(), one.served_log)
        return _recorded(one._replace(served=mark))

    def _environment(self, one: Home) -> dict[str, str]:
        token = self._data / "agents" / f"{one.tenant}.token"
        return {
            **_passed_on(),
            "TENANT": one.tenant,
            "HMS_SERVICE": one.service,
            "HMS_VERSION": one.version,
            "HMS_INSTANCE": one.name,
            "HMS_CONF": str(one.path / "conf" / "conf.yml"),
            "HMS_STATE": str(one.path / "state"),
            "HMS_REDIS_URL": self._address.redis_url,
            "HMS_MGT_URL": self._address.mgt_url,
            "HMS_TOKEN": token.read_text().strip() if token.exists() else "",
            "HMS_TRUST": str(self._address.trust.resolve()),
            **_of_ours("HMS_TLS_CA", "HMS_TLS_CERT", "HMS_TLS_KEY"),
            **served(one.path, one.port).sidecar,
        }


def _prefix(service: str) -> str:
    return service.lower().replace("_", "-")


def _naming(service: str) -> re.Pattern[str]:
    return re.compile(rf"{re.escape(_prefix(service))}-(\d+)")


def retire(extra: Iterable[Home]) -> None:
    """Take instances down for good."""
    stopped = list(extra)
    stop(stopped)
    for one in stopped:
        homes.remove(one)


def stop(some: Iterable[Home]) -> None:
    """Stop instances, keeping what they need to go on later: sidecars first, so that they can say goodbye."""
    stopping = list(some)
    found = processes.writing_to(log for one in stopping for log in (one.sidecar_log, one.served_log))
    sidecars = [mark for one in stopping for mark in (one.sidecar, found.get(one.sidecar_log))]
    masters = [mark for one in stopping for mark in (one.served, found.get(one.served_log))]
    processes.stop(sidecars, _STOP_PATIENCE_S)
    processes.stop(masters, _STOP_PATIENCE_S)


def _running(log: Path) -> Mark | None:
    """Find the process that runs although no record says so: who started it died right then."""
    return processes.writing_to([log]).get(log)


def _put_anew(one: Home) -> None:
    """Write the served process' files where its port changed; what was rendered from them goes first."""
    what = served(one.path, one.port)
    if homes.holds(one, what.files):
        return
    processes.stop([one.sidecar], _STOP_PATIENCE_S)
    if what.rendered is not None:
        what.rendered.unlink(missing_ok=True)
    homes.put(one, what.files)


def _recorded(one: Home) -> Home:
    homes.write(one)
    return one


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + _RENDER_PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


def _passed_on() -> dict[str, str]:
    """Return the little of our own environment that an instance may know."""
    return _of_ours("PATH", "HOME", "LANG", "PYTHONPATH")


def _of_ours(*names: str) -> dict[str, str]:
    return {name: os.environ[name] for name in names if name in os.environ}
