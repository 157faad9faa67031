"""Looks at files: conf.yml and what is rendered beside it, the state directory, the trust file, room on the disk."""

import os
import stat
from typing import Any

from hms_svc import candidate, conf_file, keyring
from hms_svc.conf_file import words
from hms_svc.journal import JournalFile
from hms_svc.render import templates
from hms_svc.settings import Settings
from hms_svc.trust import Trust

LEAST_BYTES = 16 * 1024 * 1024
LEAST_FILES = 100


class Missing(Exception):
    """Something is not in place; the text says what."""


def conf(settings: Settings) -> str:
    """It can be read, and be replaced by a file of the same owner and mode."""
    text = conf_file.read_text(settings.conf)
    if text is None:
        raise Missing(f"{settings.conf} does not exist")
    keys = len(_mapping(settings.conf, text))
    real = _replaceable(settings.conf)
    through = f" (through {real})" if real != settings.conf else ""
    return f"{settings.conf}{through}: {keys} keys at the top, may be replaced, owner and mode can be kept"


def _mapping(path: str, text: str) -> dict[str, Any]:
    try:
        return candidate.mapping(text)
    except ValueError as error:
        raise Missing(f"{path}: {error}") from None


def state(settings: Settings) -> str:
    """It is there and writable, or can be made; and a journal in it can be read."""
    if not os.path.exists(settings.state):  # noqa: PTH110 - pathlib costs a megabyte
        _writable(_existing(settings.state))
        return f"{settings.state}: is made at the first start"
    _writable(settings.state)
    file = JournalFile(settings.state, settings.tenant, settings.service, settings.version)
    if not os.path.exists(file.path):  # noqa: PTH110 - as above
        return f"{settings.state}: writable, no journal yet"
    return f"{settings.state}: writable, {_journal(file, settings)}"


def _journal(file: JournalFile, settings: Settings) -> str:
    try:
        journal, refused = file.read(keyring.known_trust(settings))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Missing(f"{file.path} cannot be read: {error}") from None
    if refused:
        raise Missing(f"{file.path} holds {len(refused)} patches that the pinned keys did not sign: {refused[0]}")
    return f"the journal is at revision {journal.revision}"


def space(settings: Settings) -> str:
    """Room for journals and candidates."""
    told = []
    for path in dict.fromkeys((_existing(settings.state), _existing(os.path.realpath(settings.conf)))):
        disk = os.statvfs(path)
        free = disk.f_bavail * disk.f_frsize
        if disk.f_blocks and (free < LEAST_BYTES or (disk.f_files and disk.f_favail < LEAST_FILES)):
            raise Missing(f"{path}: {free // 1024} KiB and {disk.f_favail} files are left")
        told.append(f"{path}: {free // 1024**2} MiB free")
    return "; ".join(told)


def trust(settings: Settings) -> str:
    """The keys that count, and whether the file follows from what is pinned."""
    pinned = _pinned(settings.state)
    given = keyring.given(settings) if pinned is None else keyring.following(pinned, settings.trust)
    told = "; ".join(f"{name} {value}" for name, value in keyring.shown(given).items())
    return f"{settings.trust}: {told}; {'not yet' if pinned is None else 'already'} pinned in {settings.state}"


def _pinned(directory: str) -> Trust | None:
    try:
        return keyring.pinned(directory)
    except NotADirectoryError:  # told by the check of the state directory
        return None
    except PermissionError as error:
        raise Missing(f"{words(error)}: look as the agent's user, which {_me()} is not") from None


def _me() -> str:
    return f"user {os.geteuid()}"


def render(settings: Settings) -> str:
    """Every gap of every template has a value, and the targets can be replaced."""
    if not settings.render:
        return "nothing to render (HMS_RENDER is not set)"
    text = conf_file.read_text(settings.conf) or ""
    made = candidate.make(text, (), settings.conf, templates(settings.render))
    targets = list(made.texts)[1:]
    for target in targets:
        _replaceable(target)
    return f"{', '.join(targets)}: every gap has a value, may be replaced"


def _replaceable(path: str) -> str:
    """The file that is replaced when this one is; Missing or OSError when it cannot be."""
    real = os.path.realpath(path)
    directory = os.path.dirname(real)  # noqa: PTH120 - as above
    if real in _mounts():
        raise Missing(f"{real} is a mount of its own, which cannot be replaced: mount its directory instead")
    old = os.stat(real) if os.path.exists(real) else None  # noqa: PTH110, PTH116 - as above
    _writable(directory, old)
    if old is not None and _sticky(directory, old):
        raise Missing(f"{directory} is sticky and {real} is another user's: it cannot be replaced")
    return real


def _writable(directory: str, like: os.stat_result | None = None) -> None:
    """Make a scratch file there, with the owner and mode of another; OSError when that cannot be."""
    scratch = f"{directory}/.hms-check.{os.getpid()}"
    try:
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Missing(f"{_me()} cannot make a file in {directory}: {error.strerror}") from None
    try:
        if like is not None:
            _dress(fd, like, directory)
    finally:
        os.close(fd)
        os.unlink(scratch)  # noqa: PTH108 - as above


def _dress(fd: int, like: os.stat_result, directory: str) -> None:
    mine = os.fstat(fd)
    try:
        if (mine.st_uid, mine.st_gid) != (like.st_uid, like.st_gid):
            os.fchown(fd, like.st_uid, like.st_gid)
        os.fchmod(fd, like.st_mode & 0o7777)
    except PermissionError:
        owner, me = f"{like.st_uid}:{like.st_gid}", f"{mine.st_uid}:{mine.st_gid}"
        raise Missing(f"the file in {directory} belongs to {owner}, and as {me} that cannot be kept") from None


def _sticky(directory: str, old: os.stat_result) -> bool:
    """Whether only its owner may replace the file, and we are not that."""
    above = os.stat(directory)  # noqa: PTH116 - as above
    me = os.geteuid()
    return bool(above.st_mode & stat.S_ISVTX) and me not in (0, old.st_uid, above.st_uid)


def _mounts() -> set[str]:
    try:
        with open("/proc/self/mountinfo") as table:  # noqa: PTH123 - as above
            return {line.split()[4].replace("\\040", " ") for line in table}
    except OSError:
        return set()


def _existing(path: str) -> str:
    while not os.path.exists(path):  # noqa: PTH110 - as above
        path = os.path.dirname(path)  # noqa: PTH120 - as above
    return path
