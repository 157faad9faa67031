"""Writes files so that whoever reads them later finds the old text or the new one, never half of one."""

import os
from pathlib import Path


def write_durably(path: Path, text: str, mode: int) -> None:
    """Replace a file. Neither a process nor a machine that dies at any point of it leaves a broken one."""
    # One name for every attempt, so that killed ones do not pile up; made anew, so that nobody's link is followed.
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Have the disk know which names the directory holds."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
