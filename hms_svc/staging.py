"""Several files replaced in one go, all or none: conf.yml and what is rendered beside it.

Each is written beside its target first, for the check command to look at. No file system renames several files at
once, so a target that refuses has those before it put back as they were.
"""

import errno
import os
from collections.abc import Mapping
from typing import Self

from hms_svc.conf_file import (
    TEXT_BYTES,
    directory_of,
    put_in_place,
    read_raw,
    real,
    remove,
    resolved,
    sync_directory,
    write_raw,
    write_temp,
)


class Staged:
    """Candidates written beside their targets, waiting to be put in place. Use as a context: leftovers are removed."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.temps: dict[str, str] = {}
        self.unsynced: dict[str, OSError] = {}  # directories that hold the new files but would not make them last
        try:
            for target, text in texts.items():
                # By its real name: a check may look at it long after a link above it was set elsewhere.
                self.temps[target] = write_temp(real(target), text.encode())
        except BaseException:
            self._remove()
            raise

    def commit(self) -> None:
        """Put the candidates in place, in order; when one cannot be, those before it get their old text back."""
        places = {target: resolved(target) for target in self.temps}
        old = {place: _old(place) for place in list(places.values())[:-1]}
        done: list[str] = []
        try:
            for target, place in places.items():
                put_in_place(self.temps[target], place)
                done.append(place)
                del self.temps[target]
        except OSError:
            for place in done:
                _put_back(place, old[place])
            raise
        for directory in dict.fromkeys(map(directory_of, places.values())):
            try:
                sync_directory(directory)
            except OSError as error:
                self.unsynced[directory] = error

    def _remove(self) -> None:
        for temp in self.temps.values():
            remove(temp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()


def _old(path: str) -> bytes | None:
    try:
        raw = read_raw(path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):  # nothing there, or nothing that could be put back
            return None
        raise
    if len(raw) > TEXT_BYTES:
        raise OSError(errno.EFBIG, f"is larger than {TEXT_BYTES} bytes", path)
    return raw


def _put_back(path: str, old: bytes | None) -> None:
    try:
        if old is None:
            os.unlink(path)  # noqa: PTH108 - as above
        else:
            write_raw(path, old)
    except OSError:
        return
