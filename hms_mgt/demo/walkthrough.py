"""The walk-through: plays a release manager against a running system, over HTTP, and checks what can be seen.

`make demo` runs this. It starts `hms-mgt up --demo` in a temporary place, raises the rate limit from 50 to 200
requests a second and the replicas from 3 to 6, and waits for the window to end. It exits 0 only if every
observation held.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import yaml

_PATIENCE_S = 60.0
_WINDOW_S = 8
# What the user's document allows from submission to effect.
_ALLOWED_S = 30.0
PATCH = f"""\
service: ARTIST_REGISTRY_API
version_selector: ">=2.1.0"        # applies to all 2.1+ images
changes:
  rate_limit_rps: 200              # new throttle
  replicas: 6                      # instances at least
tenant: IACB
window:
  start: now
  duration: {_WINDOW_S}s
"""


class Missed(Exception):
    """Something that should have been seen was not."""


class Walk:
    """One walk through a running system, with the time since it began."""

    def __init__(self, ready: dict[str, Any]) -> None:
        self._began = time.monotonic()
        self._mgt = ready["mgt_url"]
        self._instances = ready["instances"]
        self._client = httpx.Client(headers={"Authorization": f"Bearer {ready['tokens']['release_manager']}"})
        self.patch_id = 0

    def say(self, words: str) -> None:
        """Print one step with the seconds since the walk began."""
        print(f"{time.monotonic() - self._began:7.2f} s  {words}", flush=True)  # noqa: T201

    def submit(self) -> None:
        """Send the patch as a release manager's curl would."""
        headers = {"Content-Type": "application/yaml"}
        answer = self._client.post(f"{self._mgt}/api/patch", content=PATCH.encode(), headers=headers)
        if answer.status_code != httpx.codes.ACCEPTED:
            raise Missed(f"POST /api/patch answered {answer.status_code}: {answer.text}")
        self.patch_id = answer.json()["patch_id"]
        self.say(f"POST /api/patch answered {answer.json()}")

    def patch(self) -> dict[str, Any]:
        """Return the patch as MGT shows it."""
        shown: dict[str, Any] = self._client.get(f"{self._mgt}/api/patch/{self.patch_id}").raise_for_status().json()
        return shown

    def status(self) -> str:
        """Return the patch's status."""
        return str(self.patch()["status"])

    def limits(self) -> set[str]:
        """Return the X-RPS-Limit header of each of the first three instances."""
        return {httpx.get(one["url"]).headers.get("X-RPS-Limit", "none") for one in self._instances}

    def files(self) -> set[int]:
        """Return the limit in each conf.yml."""
        return {yaml.safe_load(Path(one["conf_path"]).read_text())["rate_limit_rps"] for one in self._instances}

    def live(self) -> list[str]:
        """Return the URLs of the live instances, each of which answers with the header."""
        fleet = self._client.get(f"{self._mgt}/api/instance").raise_for_status().json()["items"]
        return [one["url"] for one in fleet if one["status"] == "LIVE" and _answers(one["url"])]

    def until(self, what: str, seen: Callable[[], Any], wanted: Any, within: float = _PATIENCE_S) -> None:
        """Wait until `seen()` is `wanted` and say so.

        Raises:
            Missed: it is not within the given seconds.
        """
        deadline = time.monotonic() + within
        last = seen()
        while last != wanted:
            if time.monotonic() > deadline:
                raise Missed(f"{what}: expected {wanted!r}, saw {last!r} for {within:.0f} s")
            time.sleep(0.02)
            last = seen()
        self.say(what)


def _answers(url: str) -> bool:
    try:
        return "X-RPS-Limit" in httpx.get(url).headers
    except httpx.HTTPError:
        return False


def walk(ready: dict[str, Any]) -> None:
    """Play the story.

    Raises:
        Missed: at the first observation that does not hold.
    """
    it = Walk(ready)
    it.until("before: every instance sends X-RPS-Limit: 50", it.limits, {"50"})
    it.until("before: 3 instances run", lambda: len(it.live()), 3)
    conf = {one["conf_path"]: Path(one["conf_path"]).read_bytes() for one in ready["instances"]}
    submitted = time.monotonic()
    it.submit()
    it.until("the patch is APPLIED: GOV signed it, every sidecar confirmed", it.status, "APPLIED", _ALLOWED_S)
    took = time.monotonic() - submitted
    it.say(f"from POST to APPLIED: {took:.2f} s (the user's document allows {_ALLOWED_S:.0f} s)")
    it.until("X-RPS-Limit: 50 -> 200 on the first three instances, and in their conf.yml", it.limits, {"200"}, 1)
    it.until("conf.yml says rate_limit_rps: 200", it.files, {200}, 1)
    it.until("replicas: 3 -> 6; six instances answer", lambda: len(it.live()), 6, 5)
    _show_who(it)
    it.until("the window ended: the patch is EXPIRED", it.status, "EXPIRED")
    it.until("X-RPS-Limit: 200 -> 50", it.limits, {"50"}, 1)
    it.until("replicas: 6 -> 3; three instances answer", lambda: len(it.live()), 3, 5)
    same = all(Path(path).read_bytes() == text for path, text in conf.items())
    it.until("every conf.yml is byte for byte as it was before", lambda: same, True, 1)


def _show_who(it: Walk) -> None:
    """Print who did what and when, as MGT recorded it."""
    for event in it.patch()["events"]:
        it.say(f"recorded: {event['to']:<12} by {event['actor']}: {event['detail']}"[:150])


def main() -> int:
    """Start the system, walk, and end it. Returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="hms-demo-") as place:
        ready_file = Path(place) / "ready.json"
        command = [sys.executable, "-m", "hms_mgt", "up", "--demo", "--port", "0", "--data", f"{place}/data"]
        system = subprocess.Popen([*command, "--ready-file", str(ready_file)])
        try:
            walk(_ready(system, ready_file))
        except Missed as missed:
            print(f"MISSED: {missed}", file=sys.stderr)  # noqa: T201
            return 1
        finally:
            system.send_signal(signal.SIGTERM)
            ended = system.wait(60)
    print(f"every observation held; everything was stopped (exit {ended})")  # noqa: T201
    return ended


def _ready(system: subprocess.Popen[bytes], ready_file: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE_S
    while not ready_file.exists():
        if system.poll() is not None or time.monotonic() > deadline:
            raise Missed("the system did not start")
        time.sleep(0.05)
    ready: dict[str, Any] = json.loads(ready_file.read_text())
    return ready


if __name__ == "__main__":
    sys.exit(main())
