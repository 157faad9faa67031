"""A fleet is never upgraded at once: last release's sidecar under today's control plane, and the other way round.

The last release is kept beside the golden messages as the wheel that it was, and runs here as its own processes.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .system import SERVICE, TENANT, VERSION, System, path_of, require_real_parts, until, window_end

(WHEEL,) = (Path(__file__).parents[1] / "contract" / "previous").glob("*.whl")
CONF = "# limits of the artist registry\nrate_limit_rps: 50   # a second\nreplicas: 3\ngreeting: hello\n"
WINDOW_S = 6


class Sidecar:
    """One more instance of the demo's service, its sidecar started by hand from either release."""

    def __init__(self, place: Path, system: System, path: str | None) -> None:
        self.name = place.name
        self.conf = place / "conf" / "conf.yml"
        self.log = place / "sidecar.log"
        self.conf.parent.mkdir(parents=True)
        self.conf.write_text(CONF)
        environment = {
            "PATH": os.environ["PATH"],
            "TENANT": TENANT,
            "HMS_SERVICE": SERVICE,
            "HMS_VERSION": VERSION,
            "HMS_INSTANCE": self.name,
            "HMS_CONF": str(self.conf),
            "HMS_STATE": str(place / "state"),
            "HMS_TRUST": str(system.data / "keys" / "trust.json"),
            "HMS_REDIS_URL": system.ready["redis_url"],
        }
        if path is not None:
            environment["PYTHONPATH"] = path
        with self.log.open("wb") as log:
            command = [sys.executable, "-m", "hms_svc", "run"]
            self._process = subprocess.Popen(command, env=environment, stderr=log, cwd=place)

    def refusals(self) -> list[dict[str, Any]]:
        """Return what it refused."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == "refused"]

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(scope="module")
def previous() -> Iterator[str]:
    """The last release, unpacked."""
    # Readable by the user that the embedded Postgres runs as, which pytest's own directories are not.
    with tempfile.TemporaryDirectory(prefix="hms-previous-") as place:
        with zipfile.ZipFile(WHEEL) as wheel:
            wheel.extractall(place)
        yield place


def lives(system: System, name: str) -> None:
    """Wait until MGT knows the instance as live."""
    until(
        f"{name} is live",
        lambda: [one["status"] for one in system.fleet() if one["instance"] == name],
        lambda seen: seen == ["LIVE"],
    )


def effective_on(patch: dict[str, Any], name: str) -> list[str]:
    """Name the stages that an instance told of a patch."""
    return [one["stage"] for one in patch["receipts"] if one["instance"] == name]


def assert_a_patch_lives_and_ends(system: System, sidecar: Sidecar) -> None:
    """Apply a patch with a short window, and see it come and go on this sidecar as on all others."""
    until("the first file", sidecar.conf.read_text, lambda text: text == CONF)
    patch_id = system.apply({"rate_limit_rps": 200}, {"start": "now", "duration": f"{WINDOW_S}s"})
    applied = system.patch(patch_id)
    assert sidecar.conf.read_text() == CONF.replace("50 ", "200 ")
    assert "effective" in effective_on(applied, sidecar.name)
    end = window_end(applied)
    until("the end", sidecar.conf.read_text, lambda text: text == CONF, max(0.0, end - time.time()) + 1)
    assert time.time() >= end
    ended = system.reaches(patch_id, "EXPIRED")
    assert path_of(ended)[-1] == "EXPIRED"
    assert "reverted" in effective_on(ended, sidecar.name)
    standing = system.apply({"greeting": "welcome", "db.pool": 20})
    until("nested keys", sidecar.conf.read_text, lambda text: "greeting: welcome" in text and "pool: 20" in text)
    system.roll_back(standing)
    until("the way back", sidecar.conf.read_text, lambda text: text == CONF)
    assert sidecar.refusals() == []


def test_a_sidecar_of_the_last_release_under_todays_control_plane(
    system: System, previous: str, tmp_path: Path
) -> None:
    sidecar = Sidecar(tmp_path / "artist-previous", system, previous)
    try:
        lives(system, sidecar.name)
        assert_a_patch_lives_and_ends(system, sidecar)
    finally:
        sidecar.stop()


@pytest.fixture(scope="module")
def previous_system(previous: str) -> Iterator[System]:
    """The control plane of the last release, with the fleet of its time."""
    require_real_parts()
    with tempfile.TemporaryDirectory(prefix="hms-system-") as place:
        made = System(Path(place))
        try:
            made.start(PYTHONPATH=previous)
            yield made
        finally:
            made.destroy()


def test_todays_sidecar_under_the_control_plane_of_the_last_release(previous_system: System, tmp_path: Path) -> None:
    sidecar = Sidecar(tmp_path / "artist-today", previous_system, None)
    try:
        lives(previous_system, sidecar.name)
        assert_a_patch_lives_and_ends(previous_system, sidecar)
    finally:
        sidecar.stop()


def test_the_wheel_is_another_release_than_this(previous: str) -> None:
    """Else the two tests above would compare this release with itself."""
    code = "import hms_svc.wire as wire; print(wire.__file__)"
    paths = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONPATH": path}, cwd="/", capture_output=True, check=True
        ).stdout
        for path in (previous, "")
    ]
    assert paths[0] != paths[1]
    assert previous.encode() in paths[0]
