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
    troubles: dict[int, str] = {}
    for number in (*range(first, len(hosts)), *range(first)):
        try:
            return ask(*hosts[number])
        except RedisError as error:
            troubles[number] = str(error)
    raise RedisError(_together([troubles[number] for number in range(len(hosts))]))


def _together(troubles: Sequence[str]) -> str:
    """The hosts' words in their own order, whoever was asked first: what stays the same is said once."""
    places: dict[str, list[str]] = {}
    for trouble in dict.fromkeys(troubles):
        place, colon, reason = trouble.partition(": ")
        if colon:
            places.setdefault(reason, []).append(place)
        else:
            places.setdefault(trouble, [])
    return "; ".join(f"{', '.join(where)}: {what}" if where else what for what, where in places.items())
