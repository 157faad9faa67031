"""An orchestrator of local processes: the wanted number of served processes, each with its sidecar.

The processes live on when the control plane dies, as pods do, and are found again by their records. A
served process or a sidecar that died is started again.
"""

import asyncio
import hashlib
import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hms_mgt.domain.deployment import Deployment, Resources
from hms_mgt.orchestrators import home as homes
from hms_mgt.orchestrators import processes
from hms_mgt.orchestrators.home import Home
from hms_mgt.orchestrators.served import served

_RENDER_PATIENCE_S = 5.0
_STOP_PATIENCE_S = 3.0


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

    async def scale(self, deployment: Deployment, wanted: Resources) -> int:
        """Start or stop instances until `wanted.replicas` run. Returns how many run now."""
        return await asyncio.to_thread(self._scale, deployment, wanted.replicas)

    def gone(self, deployment: Deployment, names: Sequence[str]) -> list[str]:
        """Return which of these instances were ours and are there no longer."""
        ours = _naming(deployment.service)
        tenant = self._data / "instances" / deployment.tenant
        return [name for name in names if ours.fullmatch(name) and not (tenant / name).exists()]

    def _scale(self, deployment: Deployment, wanted: int) -> int:
        mine = self._mine(deployment)
        retire(mine[wanted:])
        kept = mine[:wanted] + [self._create(deployment) for _ in range(wanted - len(mine))]
        kept = [self._with_sidecar(one) for one in kept]
        kept = [self._with_served(one) for one in kept]
        return sum(processes.alive(one.sidecar) and processes.alive(one.served) for one in kept)

    def _mine(self, deployment: Deployment) -> list[Home]:
        key = (deployment.tenant, deployment.service, deployment.version)
        found = [one for one in homes.homes(self._data) if (one.tenant, one.service, one.version) == key]
        return sorted(found, key=lambda one: one.number)

    def _create(self, deployment: Deployment) -> Home:
        tenant = self._data / "instances" / deployment.tenant
        ours = _naming(deployment.service)
        taken = {int(match[1]) for path in tenant.glob("*") if (match := ours.fullmatch(path.name))}
        number = next(n for n in range(1, len(taken) + 2) if n not in taken)
        one = Home(
            path=tenant / f"{_prefix(deployment.service)}-{number}",
            tenant=deployment.tenant,
            service=deployment.service,
            version=deployment.version,
            number=number,
            port=_free_port(),
        )
        homes.lay_out(one, {"conf/conf.yml": deployment.conf, **served(one.path, one.port).files})
        return one

    def _with_sidecar(self, one: Home) -> Home:
        environment = self._environment(one)
        digest = hashlib.sha256(json.dumps(environment, sort_keys=True).encode()).hexdigest()
        if processes.alive(one.sidecar) and one.environment == digest:
            return one
        processes.stop([one.sidecar], _STOP_PATIENCE_S)
        command = (sys.executable, "-m", "hms_svc", "run")
        mark = processes.start(command, environment, one.path / "sidecar.log")
        return _recorded(one._replace(sidecar=mark, environment=digest))

    def _with_served(self, one: Home) -> Home:
        if processes.alive(one.served):
            return one
        what = served(one.path, one.port)
        if not _appears(what.waits_for):
            return one
        if one.served is not None:
            processes.sweep(one.served)
        mark = processes.start(what.command, _passed_on(), one.path / "served.log")
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
    processes.stop([one.sidecar for one in stopping], _STOP_PATIENCE_S)
    processes.stop([one.served for one in stopping], _STOP_PATIENCE_S)


def _recorded(one: Home) -> Home:
    homes.write(one)
    return one


def _appears(path: Path) -> bool:
    deadline = time.monotonic() + _RENDER_PATIENCE_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return path.exists()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _passed_on() -> dict[str, str]:
    """Return the little of our own environment that an instance may know."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
