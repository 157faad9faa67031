"""The system as separate processes, as docs/operations.md starts it: GOV, API, worker, and sidecars beside files.

Nothing in here is faked: what the operator types is run as a command, and what a part is told is its environment.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx
from typer.testing import CliRunner

from hms_mgt.cli import cli
from hms_svc.trust import Trust, load_trust
from tests.svc_io.rig import Agent, Control, free_port

from .system import PATIENCE_S, SERVICE, TENANT, VERSION, until

ROOT = Path(__file__).parents[2]
STALE_SECONDS = 30
BASE = "rate_limit_rps: 50  # per client\ngreeting: hello\n"


class Part(NamedTuple):
    """A process of the control plane, and how it is started."""

    command: Sequence[str]
    environment: dict[str, str]
    process: subprocess.Popen[bytes]


class Production:
    """A control plane on a database and a Redis that are there already, with keys of its own in `place`."""

    def __init__(self, place: Path, database: str, redis_url: str, *, keys: Sequence[str] = (), **more: str) -> None:
        self.place = place
        self.keys = place / "keys"
        self._gov_url = f"http://127.0.0.1:{free_port()}"
        self.url = f"http://127.0.0.1:{free_port()}"
        self.redis_url = redis_url
        self._tls = {name: value for name, value in more.items() if name.startswith("HMS_TLS")}
        own = {name: value for name, value in os.environ.items() if not name.startswith("HMS_")}
        self.environment = {
            **own,
            "PATH": f"{Path(sys.executable).parent}:{own['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HMS_DATABASE_URL": database,
            "HMS_REDIS_URL": redis_url,
            "HMS_GOV_URL": self._gov_url,
            "HMS_KEYS": "keys",
            "HMS_PORT": self.url.rpartition(":")[2],
            "HMS_AUDIT_WITNESS": str(place / "audit-heads.jsonl"),
            **more,
        }
        self.parts: dict[str, Part] = {}
        self.agents: list[Agent] = []
        conf = place / "conf.yml"
        conf.write_text(BASE)
        self.manages("keys", "--out", str(self.keys), *keys)
        self.manages("tenant", "add", TENANT)
        self.manages("service", "add", SERVICE, *_named(tenant=TENANT, version=VERSION, conf=str(conf)))
        token = self.manages("token", "create", *_named(role="release_manager", tenant=TENANT))
        self._web = httpx.Client(base_url=self.url, timeout=5, headers={"Authorization": f"Bearer {token.strip()}"})

    # --- what an operator does -------------------------------------------------------------------------------

    def types(self, *words: str, fails: bool = False) -> str:
        """Run one command in the operator's directory. Returns what it printed; when it fails, what it complained."""
        done = subprocess.run(
            words, cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.returncode != 0) is fails, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stderr if fails else done.stdout

    def manages(self, *words: str) -> str:
        """Run a command of `hms-mgt` in this process, which saves its start. Returns what it printed."""
        done = CliRunner().invoke(cli, words, env={**self.environment, "HMS_KEYS": str(self.keys)})
        assert done.exit_code == 0, done.output
        return done.stdout

    def pastes(self, commands: str) -> str:
        """Run lines of the documentation as they stand there."""
        return self.types("bash", "-euo", "pipefail", "-c", commands)

    def start(self) -> None:
        """Start every part of the control plane, and wait until it answers."""
        self.start_gov(("gov.key",) if not (self.keys / "gov-2.key").exists() else ("gov.key", "gov-2.key"))
        for name in ("api", "worker"):
            self._start(name, ("hms-mgt", name), self.environment)
        until("GOV answers", lambda: _answers(f"{self._gov_url}/livez"), bool, 30)
        until("MGT answers", lambda: _answers(f"{self.url}/readyz"), bool, 30)

    def start_gov(self, names: Sequence[str]) -> None:
        """Start GOV with these keys."""
        keys = ",".join(str(self.keys / name) for name in names)
        port = self._gov_url.rpartition(":")[2]
        self._start("gov", ("hms-gov", "serve", "--port", port), {**self.environment, "HMS_GOV_KEY": keys})

    def restart(self, *names: str) -> None:
        """Stop these parts, then start them again, and wait until they answer."""
        for name in names:
            self.stop(name)
        for name in names:
            part = self.parts[name]
            self._start(name, part.command, part.environment)
        until("MGT answers", lambda: _answers(f"{self.url}/readyz"), bool, 30)

    def _start(self, name: str, command: Sequence[str], environment: dict[str, str]) -> None:
        with (self.place / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=self.place, env=environment, stdout=log, stderr=log)
        self.parts[name] = Part(command, environment, process)

    def stop(self, name: str) -> None:
        """End a part as its supervisor does."""
        process = self.parts[name].process
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def log(self, name: str) -> str:
        """What a part has said so far."""
        return (self.place / f"{name}.log").read_text()

    # --- sidecars --------------------------------------------------------------------------------------------

    def sidecar(self, number: int = 1, **settings: str) -> Agent:
        """Lay out a sidecar with a trust file of its own, not started yet."""
        directory = self.place / f"sidecar{number}"
        (directory / "conf").mkdir(parents=True, exist_ok=True)
        (directory / "conf" / "conf.yml").write_text(BASE)
        told = {"HMS_INSTANCE": f"sidecar-{number}", "HMS_SERVICE": SERVICE, "HMS_VERSION": VERSION, **self._tls}
        made = Agent(directory, cast("Control", self), self.redis_url, **{**told, **settings})
        self.agents.append(made)
        return made

    def trust(self) -> str:
        """What a sidecar is given at first."""
        return (self.keys / "trust.json").read_text()

    def trusted(self) -> Trust:
        """Whom that pins."""
        return load_trust(self.trust())

    def distributes(self, *sidecars: Agent) -> None:
        """Put the trust file of today where these sidecars look for it, as a whole."""
        for one in sidecars:
            path = one.directory / "trust.json"
            fresh = path.with_suffix(".new")
            fresh.write_text(self.trust())
            fresh.replace(path)

    # --- patches ---------------------------------------------------------------------------------------------

    def submit(self, changes: dict[str, Any], duration: str = "1h", **fields: Any) -> int:
        """Submit a patch. Returns its id."""
        patch = {"service": SERVICE, "version_selector": ">=2.1.0", "changes": changes, "tenant": TENANT}
        window = {"start": "now", "duration": duration}
        answer = self._web.post("/api/patch", json={**patch, "window": window, **fields})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return int(answer.json()["patch_id"])

    def patch(self, patch_id: int) -> dict[str, Any]:
        """A patch as MGT shows it."""
        shown: dict[str, Any] = self._web.get(f"/api/patch/{patch_id}").raise_for_status().json()
        return shown

    def reaches(self, patch_id: int, status: str, within: float = PATIENCE_S) -> dict[str, Any]:
        """Wait until a patch has a status. Returns it."""
        return until(
            f"patch {patch_id} is {status}", lambda: self.patch(patch_id), lambda one: one["status"] == status, within
        )

    def applies(self, changes: dict[str, Any], duration: str = "1h") -> int:
        """Submit a patch and wait until every live sidecar confirmed it. Returns its id."""
        patch_id = self.submit(changes, duration)
        self.reaches(patch_id, "APPLIED")
        return patch_id

    def roll_back(self, *patch_ids: int) -> None:
        """End patches by hand, and wait until they are gone."""
        for patch_id in patch_ids:
            self._web.post(f"/api/patch/{patch_id}/rollback").raise_for_status()
        for patch_id in patch_ids:
            self.reaches(patch_id, "ROLLED_BACK")

    def instances(self) -> dict[str, dict[str, Any]]:
        """The instances that MGT shows, by name."""
        items = self._web.get("/api/instance").raise_for_status().json()["items"]
        return {one["instance"]: one for one in items}

    def close(self) -> None:
        """End all that was started."""
        self._web.close()
        for agent in self.agents:
            agent.cleanup()
        for part in self.parts.values():
            if part.process.poll() is None:
                part.process.kill()
            part.process.wait()


class Away:
    """How long nobody could hear MGT: an agent may be STALE only after half a minute of that."""

    def __init__(self) -> None:
        self._since = time.monotonic()

    def excuses(self) -> bool:
        return time.monotonic() - self._since > STALE_SECONDS - 5


def blocks(document: str, heading: str) -> list[str]:
    """The shell commands that a section of a document gives, block by block."""
    text = (ROOT / "docs" / document).read_text()
    section = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    assert section, f"docs/{document} has a section {heading!r}"
    return re.findall(r"```sh\n(.*?)```", section[1], re.DOTALL)


def _named(**options: str) -> list[str]:
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False
