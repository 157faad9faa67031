"""Files that other processes read: changed as a whole or not at all, whatever moment the power goes.

Temp file in the same directory, fsync, the old file's mode and owner, rename, fsync of the directory.
Symlinks are resolved first (renaming over a link would replace the link). The temp file has a fixed hidden
name, so a crash leaves at most one behind and the next write reuses it. A bind-mounted single file cannot be
renamed over (EBUSY): mount its directory.
"""

import errno
import os
from collections.abc import Mapping
from typing import NamedTuple, Self

from nacl.bindings import crypto_generichash_blake2b_salt_personal as blake2b

DEFAULT_MODE = 0o644
TEXT_BYTES = 4 * 1024 * 1024


class Glance(NamedTuple):
    """Enough of a file's stat to see that somebody wrote it; None for a missing file."""

    mtime_ns: int
    inode: int
    size: int


def glance(path: str) -> Glance | None:
    """How the file looks from outside, or None when there is none (or it cannot be reached)."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - pathlib costs a megabyte
    except OSError:
        return None
    return Glance(stat.st_mtime_ns, stat.st_ino, stat.st_size)


def read_text(path: str) -> str | None:
    """The file's text exactly as it is, line ends included; None when there is none; OSError or ValueError else."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with os.fdopen(fd, "rb") as file:
        raw = file.read(TEXT_BYTES + 1)
    if len(raw) > TEXT_BYTES:
        raise ValueError(f"{path} is larger than {TEXT_BYTES} bytes")
    return raw.decode("utf-8")


def sha(*texts: str) -> str:
    """Fingerprint of texts in order."""
    lengths = ",".join(str(len(text)) for text in texts)
    return blake2b("\0".join((lengths, *texts)).encode(), digest_size=32).hex()


class Staged:
    """Candidates written beside their targets, waiting to be put in place. Use as a context: leftovers are removed."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self.temps: dict[str, str] = {}
        try:
            for target, text in texts.items():
                self.temps[target] = _write_temp(os.path.realpath(target), text)
        except BaseException:
            self._remove()
            raise

    def commit(self) -> None:
        """Put the candidates in place, in order; when one cannot be, those before it get their old text back."""
        done: dict[str, str | None] = {}
        try:
            for target in list(self.temps):
                real = os.path.realpath(target)
                old = _old_text(real)
                replace(self.temps[target], real)
                done[real] = old
                del self.temps[target]
        except OSError:
            for real, old in done.items():
                _put_back(real, old)
            raise

    def _remove(self) -> None:
        for temp in self.temps.values():
            _unlink(temp)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()


def write_atomically(path: str, text: str, mode: int = DEFAULT_MODE) -> None:
    """Write one file of our own (the journal) with the same care."""
    target = os.path.realpath(path)
    temp = _write_temp(target, text, mode)
    try:
        replace(temp, target)
    except BaseException:
        _unlink(temp)
        raise


def _old_text(path: str) -> str | None:
    try:
        return read_text(path)
    except ValueError:  # not text: nothing worth putting back
        return None


def _put_back(path: str, text: str | None) -> None:
    try:
        if text is not None:
            write_atomically(path, text)
    except OSError:
        return


def temp_name(target: str) -> str:
    """The hidden name a candidate has beside its target; it does not end like the target, so `*.conf` skips it."""
    directory, name = os.path.split(target)
    return os.path.join(directory, f".{name}.hms-new")  # noqa: PTH118 - as above


def _write_temp(target: str, text: str, mode: int = DEFAULT_MODE) -> str:
    temp = temp_name(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temp, flags, 0o600)
    try:
        _dress(fd, target, mode)
        _write_all(fd, text.encode())
        os.fsync(fd)
    except BaseException:
        _unlink(temp)
        raise
    finally:
        os.close(fd)
    return temp


def _dress(fd: int, target: str, mode: int) -> None:
    """Give the new file the old one's owner and mode, before its content can be read by anybody."""
    try:
        old = os.stat(target)  # noqa: PTH116 - as above
    except FileNotFoundError:
        os.fchmod(fd, mode)
        return
    mine = os.fstat(fd)
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        os.fchown(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, old.st_mode & 0o7777)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def replace(temp: str, target: str) -> None:
    """Rename and make the rename last; a busy target is explained."""
    try:
        os.rename(temp, target)  # noqa: PTH104 - as above
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise OSError(error.errno, "is a mount of its own: mount its directory instead", target) from None
        raise
    _sync_directory(os.path.dirname(target))  # noqa: PTH120 - as above


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - as above
    except OSError:
        return
