"""One JSON line on stderr per event, and silence when nothing happens.

The logging package would cost a megabyte and buy nothing here. A log line must never stop the agent: a closed stderr is
ignored, and a line for which a pipe has no room, because nobody reads it, is lost. Callers pass words, never URLs or
tokens.
"""

import json
import os
import select
import time

STDERR = 2
# What a pipe that can be written to takes at once, without waiting.
MOST_BYTES = select.PIPE_BUF
SHOWN_CHARS = 300
LINES_A_MINUTE = 10
MINUTE_SECONDS = 60.0


def emit(event: str, **fields: object) -> None:
    """Write one event; `fields` are JSON values."""
    from hms_svc.wire import rfc3339  # noqa: PLC0415 - who speaks before the agent is loaded shall not load it

    told = {"at": rfc3339(time.time()), "event": event, **fields}
    line = _line(told)
    if len(line) > MOST_BYTES:
        line = _line({name: _cut(value) for name, value in told.items()})
    poll = select.poll()
    poll.register(STDERR, select.POLLOUT)
    try:
        if poll.poll(0):
            os.write(STDERR, line[:MOST_BYTES])
    except OSError:
        return


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, default=str, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _cut(value: object) -> object:
    """A field short enough to be one of ten in a line."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return value if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}.."


class Muffler:
    """Keeps the same from being said ten thousand times: a few a minute of each kind, and how many were left out."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[float, int]] = {}

    def pass_on(self, kind: str, now: float) -> dict[str, int] | None:
        """What to add to a line that may be written, None for one that may not. `now` is the monotonic clock."""
        since, count = self._kinds.get(kind, (now, 0))
        if now - since >= MINUTE_SECONDS:
            left_out = max(count - LINES_A_MINUTE, 0)
            self._kinds[kind] = (now, 1)
            return {"left_out": left_out} if left_out else {}
        self._kinds[kind] = (since, count + 1)
        return {} if count < LINES_A_MINUTE else None
