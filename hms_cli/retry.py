"""When to ask again, and after how long. Pauses are jittered: many who lost the server do not return at once."""

import random

from hms_cli.errors import BusyError, ClientError, LostError

ATTEMPTS = 4
FIRST_PAUSE = 0.2  # seconds; doubles, with full jitter
LONGEST_PAUSE = 2.0  # seconds, also when the server asks for more
LONGEST_QUEUE = 10.0  # seconds we wait for our turn after a 429; told to wait longer, we give up


def pause(attempt: int, lost: LostError) -> float | None:
    """Seconds until the next attempt; None when there is none."""
    if attempt == ATTEMPTS - 1:
        return None
    jittered = random.uniform(0, FIRST_PAUSE * 2**attempt)  # noqa: S311 spreads load, guards nothing
    if not isinstance(lost, BusyError):
        return min(LONGEST_PAUSE, max(jittered, lost.after))
    return None if lost.after > LONGEST_QUEUE else lost.after + jittered


def unknown(lost: LostError) -> ClientError:
    """The error in place of another attempt, where that could be carried out as well."""
    return ClientError(lost.code, *lost.lines, "it may have been carried out all the same: look before you repeat it")
