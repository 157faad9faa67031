"""A place to measure in: a virtual environment as `pip install` leaves it, made of what runs here, without a network.

An editable install loads a finder into every interpreter, which would make the floors look dear.
"""

import compileall
import importlib.metadata
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The sidecar's own needs, and the floor's.
WANTED = ("PyYAML", "PyNaCl", "cffi", "hiredis", "redis", "async-timeout")
# What pip writes for an entry point.
SCRIPT = """\
#!{python}
import re
import sys
from hms_svc.__main__ import main
if __name__ == '__main__':
    sys.exit(main())
"""


def make(directory: Path) -> Path:
    """Make the environment. Returns its interpreter; the `hms-svc` command stands beside it."""
    venv.create(directory, symlinks=True, with_pip=False)
    python = directory / "bin" / "python"
    packages = Path(sysconfig.get_path("purelib", vars={"base": str(directory), "platbase": str(directory)}))
    for name in WANTED:
        _copy(name, packages)
    shutil.copytree(ROOT / "hms_svc", packages / "hms_svc", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(packages, quiet=2)
    script = directory / "bin" / "hms-svc"
    script.write_text(SCRIPT.format(python=python))
    script.chmod(0o755)
    return python


def _copy(name: str, packages: Path) -> None:
    """Copy what an installed distribution consists of."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in files:
        if ".." in file.parts or file.suffix == ".pyc":
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.locate(), target)


def describe() -> str:
    """Name the interpreter and the packages, for whoever reads the figures."""
    versions = []
    for name in ("redis", "hiredis", "PyYAML", "PyNaCl"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    return f"Python {sys.version.split()[0]}, {', '.join(versions)}"
