"""One agent a state directory: two would write each other's journal and signal the process in turns.

Apart from `ground`, because this is looked at before anything is loaded that costs time.
"""

import fcntl
import os

from hms_svc.address import SettingsError


def acquire(directory: str) -> int:
    """Make the directory and lock it. The lock is held until the process ends or the file descriptor is closed."""
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
