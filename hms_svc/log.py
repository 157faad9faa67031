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
