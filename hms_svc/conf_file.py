"""Files that other processes read: changed as a whole or not at all, whatever moment the power goes.

Temp file in the same directory, fsync, the old file's mode and owner, rename, fsync of the directory.
Symlinks are resolved first (renaming over a link would replace the link). The temp file has a fixed hidden
name, so a crash leaves at most one behind and the next start sweeps it away. A bind-mounted single file cannot be
renamed over (EBUSY): mount its directory. Every OSError names the file.
"""

import errno
import os
from collections.abc import Iterable
from stat import S_ISFIFO, S_ISREG
from typing import NamedTuple

from hms_svc import blake2

DEFAULT_MODE = 0o644
TEXT_BYTES = 4 * 1024 * 1024
OWN_BYTES = 64 * 1024 * 1024
"""What files of our own may hold: several texts, and each letter may take six bytes."""
CHUNK_BYTES = 64 * 1024


class Glance(NamedTuple):
    """Enough of a file's stat to see that somebody wrote it, even if its time was set back; None for a missing file."""

    mtime_ns: int
    inode: int
    size: int
    ctime_ns: int


def glance(path: str) -> Glance | None:
    """How the file looks from outside, or None when there is none (or it cannot be reached)."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - pathlib costs a megabyte
    except OSError:
        return None
    return Glance(stat.st_mtime_ns, stat.st_ino, stat.st_size, stat.st_ctime_ns)


def read_text(path: str, most: int = TEXT_BYTES) -> str | None:
    """The file's text exactly as it is, line ends included; None when there is none; OSError or ValueError else."""
    try:
        raw = read_raw(path, most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _named(error, path) from None
    if len(raw) > most:
        raise ValueError(f"{path} is larger than {most} bytes")
    return raw.decode("utf-8")


def read_raw(path: str, most: int = TEXT_BYTES) -> bytes:
    """The file's bytes; a little more than `most` where it is longer; OSError when they cannot be read."""
    # Whatever stands there now (a pipe, a device) must neither block nor be read.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "is not a regular file", path)
        data = os.read(fd, min(found.st_size, most) + 1)
        if len(data) == found.st_size:  # fewer than were asked for: that was the end
            return data
        chunks = [data]
        while chunks[-1] and sum(map(len, chunks)) <= most:
            chunks.append(os.read(fd, CHUNK_BYTES))
        return b"".join(chunks)
    finally:
        os.close(fd)


def peek(path: str) -> str | None:
    """As `read_text`, and None also for what cannot be read."""
    try:
        return read_text(path)
    except (OSError, ValueError):
        return None


def words(error: OSError) -> str:
    """An OSError for a report: what and where."""
    reason = error.strerror or str(error)
    return f"{error.filename}: {reason}" if error.filename else reason


def _named(error: OSError, path: str) -> OSError:
    """The same error with the file's name: calls on a descriptor do not know it."""
    return OSError(error.errno, error.strerror or str(error), path)


def sha(*texts: str) -> str:
    """Fingerprint of texts in order."""
    lengths = ",".join(str(len(text)) for text in texts)
    return blake2.digest("\0".join((lengths, *texts)).encode(), 32).hex()


def resolved(path: str) -> str:
    """What to replace instead of `path`: where that is a symlink, the file behind it.

    Links above it are the kernel's to follow; a whole resolution, of many system calls, is made only where it is one.
    OSError where that cannot be seen: a rename would replace the link.
    """
    try:
        os.readlink(path)  # noqa: PTH115 - as above
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return path
        raise
    return real(path)


def real(path: str) -> str:
    """A path without links, the last of it to be created perhaps; OSError where that cannot be seen."""
    try:
        return os.path.realpath(path, strict=True)
    except FileNotFoundError:
        return os.path.realpath(path)


def write_atomically(path: str, text: str, mode: int = DEFAULT_MODE) -> None:
    """Write one file of our own (the journal) with the same care."""
    write_raw(resolved(path), text.encode(), mode)


def write_raw(target: str, data: bytes, mode: int = DEFAULT_MODE) -> None:
    """The same for bytes; `target` is no symlink."""
    temp = write_temp(target, data, mode)
    try:
        put_in_place(temp, target)
    except BaseException:
        remove(temp)
        raise
    sync_directory(directory_of(target))


def set_aside(path: str, name: str) -> None:
    """Keep a file of our own under another name as well, until something new is written by its own."""
    remove(name)
    try:
        os.link(path, name)
    except OSError:  # not every file system knows links
        os.replace(path, name)  # noqa: PTH105 - as above


def append(path: str, line: str) -> None:
    """Add a line to a file of our own that exists, without waiting for the disk."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        _write_all(fd, line.encode())
    except OSError as error:
        raise _named(error, path) from None
    finally:
        os.close(fd)


def sweep(targets: Iterable[str]) -> None:
    """Remove the temp files an agent that was killed left beside these files."""
    for target in targets:
        remove(temp_name(os.path.realpath(target)))


def temp_name(target: str) -> str:
    """The hidden name a candidate has beside its target; it does not end like the target, so `*.conf` skips it."""
    return beside(target, "hms-new")


def beside(target: str, ending: str) -> str:
    """A hidden name in the directory of `target`, an absolute path."""
    directory, _, name = target.rpartition("/")
    return f"{directory}/.{name}.{ending}"


def directory_of(target: str) -> str:
    """The directory of an absolute path."""
    return target.rpartition("/")[0] or "/"


def write_temp(target: str, data: bytes, mode: int = DEFAULT_MODE) -> str:
    """Write what `target` is to become beside it, synced, with its mode and owner; the temp file's path."""
    temp = temp_name(target)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(temp, flags, 0o600)
    except OSError as error:
        raise _named(error, target) from None
    try:
        try:
            _dress(fd, target, mode)
            _write_all(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
    except BaseException as error:
        remove(temp)
        if isinstance(error, OSError):
            raise _named(error, target) from None
        raise
    return temp


def _dress(fd: int, target: str, mode: int) -> None:
    """Give the new file the old one's owner and mode, before its content can be read by anybody."""
    try:
        old = os.stat(target)  # noqa: PTH116 - as above
    except FileNotFoundError:
        os.fchmod(fd, mode)
        return
    if not (S_ISREG(old.st_mode) or S_ISFIFO(old.st_mode)):  # a device behind a link is not ours to replace
        raise OSError(errno.EINVAL, "is not a regular file", target)
    mine = os.fstat(fd)
    if (mine.st_uid, mine.st_gid) != (old.st_uid, old.st_gid):
        _give(fd, old.st_uid, old.st_gid)
    os.fchmod(fd, old.st_mode & 0o7777)


def _give(fd: int, uid: int, gid: int) -> None:
    """Hand the new file to the old one's owner; who may not do that is told what would help."""
    try:
        os.fchown(fd, uid, gid)
    except PermissionError as error:
        whose = f"the file belongs to user {uid} and group {gid}, and we run as user {os.geteuid()}"
        raise OSError(error.errno, f"{whose}: run the agent as the file's owner, or give it the file") from None


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        taken = os.write(fd, view)
        if not taken:
            raise OSError(errno.EIO, "the disk takes nothing")
        view = view[taken:]


def put_in_place(temp: str, target: str) -> None:
    """Put the file in place; a busy target is explained."""
    try:
        os.rename(temp, target)  # noqa: PTH104 - as above
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise OSError(error.errno, "is a mount of its own: mount its directory instead", target) from None
        raise _named(error, target) from None


def sync_directory(path: str) -> None:
    """Make the renames in it last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        raise _named(error, path) from None
    finally:
        os.close(fd)


def hold(path: str) -> int:
    """A descriptor by which a file outlives its name, -1 where there is none: deleting it is left to `let_go`.

    That takes a disk longer than all else about a rename, so it is for when nobody waits.
    """
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return -1


def let_go(fd: int) -> int:
    """Close it, if it is one; -1, to be held instead. It is closed even where the disk complains of what it held."""
    if fd >= 0:
        try:
            os.close(fd)
        except OSError:
            return -1
    return -1


def remove(path: str) -> None:
    """Away with it, if it is there and that can be."""
    try:
        os.unlink(path)  # noqa: PTH108 - as above
    except OSError:
        return
