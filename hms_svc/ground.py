"""What must be there before the loop may start: the trust file, and a state directory held by this agent alone.

These are the two things without which nothing the agent does can be right, so a fault here is a bad setting
(exit 2), not something to retry: without keys every message and the whole journal would be refused and live
patches undone.
"""

import fcntl
import os
from typing import NamedTuple

from hms_svc.address import SettingsError
from hms_svc.conf_file import read_text
from hms_svc.settings import Settings
from hms_svc.wire import Trust, load_trust


class Ground(NamedTuple):
    """The pinned keys, and the lock's file descriptor: it is held until the process ends."""

    trust: Trust
    lock: int


def prepare(settings: Settings) -> Ground:
    """Read the trust file and lock the state directory; SettingsError names what is wrong."""
    return Ground(trust(settings), _lock(settings.state))


def trust(settings: Settings) -> Trust:
    """The pinned keys."""
    try:
        text = read_text(settings.trust)
        if text is None:
            raise SettingsError(f"HMS_TRUST={settings.trust}: no such file; ask the control plane's operator")
        return load_trust(text)
    except OSError as error:
        raise SettingsError(f"HMS_TRUST={settings.trust}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"HMS_TRUST={settings.trust}: {error}") from None


def _lock(directory: str) -> int:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)  # noqa: PTH103 - pathlib costs a megabyte
        fd = os.open(f"{directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"HMS_STATE={directory}: {error.strerror}; it must be a writable directory") from None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise SettingsError(f"HMS_STATE={directory}: another hms-svc is using it; give each agent its own") from None
    return fd
