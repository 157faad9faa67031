"""Several hosts that know the same thing, asked one after the other until one answers.

Each agent begins with another one, so that a fleet spreads over them and a dead first host costs only some of it time.
"""

import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from hms_svc.resp import RedisError

T = TypeVar("T")


def in_turn(hosts: Sequence[tuple[str, int]], ask: Callable[[str, int], T]) -> T:
    """The first answer; RedisError with everybody's words when there is none."""
    first = os.urandom(1)[0] % len(hosts)
    troubles = []
    for host, port in (*hosts[first:], *hosts[:first]):
        try:
            return ask(host, port)
        except RedisError as error:
            troubles.append(str(error))
    raise RedisError("; ".join(troubles))
