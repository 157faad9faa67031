"""The directory of one local instance, and the record in it of which processes are its own."""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hms_mgt.orchestrators.files import write_durably
from hms_mgt.orchestrators.processes import Mark

_RECORD = "instance.json"


class Home(NamedTuple):
    """One local instance: where it lives, where it listens, and its two processes."""

    path: Path
    tenant: str
    service: str
    version: str
    number: int
    port: int
    sidecar: Mark | None = None
    served: Mark | None = None
    # What the running sidecar was started with; another environment means starting it anew.
    environment: str = ""

    @property
    def name(self) -> str:
        """Return the instance's id."""
        return self.path.name

    @property
    def url(self) -> str:
        """Return where the served process answers."""
        return f"http://127.0.0.1:{self.port}/"

    @property
    def sidecar_log(self) -> Path:
        """Return where the sidecar writes."""
        return self.path / "sidecar.log"

    @property
    def served_log(self) -> Path:
        """Return where the served process writes."""
        return self.path / "served.log"


def read(path: Path) -> Home:
    """Read the record of an instance."""
    record = json.loads((path / _RECORD).read_text())
    for process in ("sidecar", "served"):
        record[process] = None if record[process] is None else Mark(*record[process])
    return Home(path=path, **record)


def write(home: Home) -> None:
    """Write the record."""
    record = home._asdict()
    del record["path"]
    write_durably(home.path / _RECORD, json.dumps(record, indent=1), 0o644)


def exists(path: Path) -> bool:
    """Tell whether an instance lives here: its record comes last when it is made and goes first when it is removed."""
    return (path / _RECORD).exists()


def homes(data: Path) -> Iterator[Home]:
    """Return every instance under a data directory, those half made left out."""
    for record in sorted(data.glob(f"instances/*/*/{_RECORD}")):
        yield read(record.parent)


def lay_out(home: Home, files: Mapping[str, str]) -> None:
    """Make the directory with its files; the record comes last, so that a half made one is not an instance."""
    shutil.rmtree(home.path, ignore_errors=True)
    put(home, files)
    (home.path / "state").mkdir(mode=0o700)
    write(home)


def put(home: Home, files: Mapping[str, str]) -> None:
    """Write files into the directory."""
    for name, text in files.items():
        target = home.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_durably(target, text, 0o644)


def holds(home: Home, files: Mapping[str, str]) -> bool:
    """Tell whether the directory has these files with these texts."""
    paths = {home.path / name: text for name, text in files.items()}
    return all(path.exists() and path.read_text() == text for path, text in paths.items())


def remove(home: Home) -> None:
    """Delete the directory, the record first."""
    (home.path / _RECORD).unlink(missing_ok=True)
    shutil.rmtree(home.path, ignore_errors=True)
