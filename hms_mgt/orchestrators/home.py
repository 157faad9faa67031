"""The directory of one local instance, and the record in it of which processes are its own."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hms_mgt.orchestrators.processes import Mark


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


def read(path: Path) -> Home:
    """Read the record of an instance."""
    record = json.loads((path / "instance.json").read_text())
    for process in ("sidecar", "served"):
        record[process] = None if record[process] is None else Mark(*record[process])
    return Home(path=path, **record)


def write(home: Home) -> None:
    """Write the record; a reader finds the old one or the new one."""
    record = home._asdict()
    del record["path"]
    temporary = home.path / ".instance.json"
    temporary.write_text(json.dumps(record, indent=1))
    temporary.replace(home.path / "instance.json")


def homes(data: Path) -> Iterator[Home]:
    """Return every instance under a data directory, those half made left out."""
    for record in sorted(data.glob("instances/*/*/instance.json")):
        yield read(record.parent)


def lay_out(home: Home, files: dict[str, str]) -> None:
    """Make the directory with its files; the record comes last, so that a half made one is not an instance."""
    shutil.rmtree(home.path, ignore_errors=True)
    for name, text in files.items():
        target = home.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
    (home.path / "state").mkdir(mode=0o700)
    write(home)


def remove(home: Home) -> None:
    """Delete the directory, the record first."""
    (home.path / "instance.json").unlink(missing_ok=True)
    shutil.rmtree(home.path, ignore_errors=True)
