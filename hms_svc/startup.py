"""Starts an agent: takes the lock, dials Redis, and loads most of the agent only then, while Redis answers.

Subscribed early, nothing is missed: what is published waits in the socket until there is somebody to verify it. Two
agents in one state directory would write each other's journal and signal the process in turns, so one has its lock.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import sys
from typing import TYPE_CHECKING

from hms_svc.address import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from hms_svc.agent import Agent
    from hms_svc.settings import Settings


def start(settings: Settings) -> Agent:
    """The agent, ready to run; SettingsError without the state directory, trusted keys or a journal within reach."""
    lock(settings.state)
    sys.unraisablehook = _hush
    try:
        return _started(settings)
    except OSError as error:
        if error.errno == errno.EMFILE:
            words = f"{os.sysconf('SC_OPEN_MAX')} descriptors are too few to start (ulimit -n): 64 are plenty"
            raise SettingsError(words) from None
        raise SettingsError(f"HMS_STATE={settings.state}: the journal cannot be read: {error.strerror}") from None


# What nobody can catch would be a traceback among the log's lines, as of a thread that finds no memory to begin with
# (the errand says so). This takes it and needs no memory either.
_hush: Callable[[object], object] = id


def lock(directory: str) -> int:
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


def _started(settings: Settings) -> Agent:
    from hms_svc import libyaml  # noqa: PLC0415 - the order is the point
    from hms_svc.clock import REAL  # noqa: PLC0415 - as above
    from hms_svc.errand import Bell  # noqa: PLC0415 - as above
    from hms_svc.link import Link  # noqa: PLC0415 - as above

    bell = Bell()
    link = Link(settings, bell)
    link.tend(REAL.now())

    libyaml.load()
    from hms_svc.agent import Agent  # noqa: PLC0415 - as above
    from hms_svc.keyring import open_keyring  # noqa: PLC0415 - as above

    agent = Agent(settings, open_keyring(settings, REAL.wall()), bell, link)
    gc.freeze()  # what is here by now stays: the collector need not look at it while a delta waits
    return agent
