"""Starts an agent, Redis first: it is dialled before most of the agent is loaded, and answers meanwhile.

Subscribed early, nothing is missed: what is published waits in the socket until there is somebody to verify it.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from hms_svc import libyaml
from hms_svc.clock import REAL
from hms_svc.errand import Bell
from hms_svc.link import Link

if TYPE_CHECKING:
    from hms_svc.agent import Agent
    from hms_svc.settings import Settings


def start(settings: Settings) -> Agent:
    """The agent, ready to run; SettingsError without trusted keys, OSError when the journal is out of reach."""
    bell = Bell()
    link = Link(settings, bell)
    link.tend(REAL.now())

    libyaml.load()
    from hms_svc.agent import Agent  # noqa: PLC0415 - the order is the point
    from hms_svc.ground import keyring  # noqa: PLC0415 - as above

    agent = Agent(settings, keyring(settings, REAL.wall()), bell, link)
    gc.freeze()  # what is here by now stays: the collector need not look at it while a delta waits
    return agent
