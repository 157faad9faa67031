"""One JSON line on stderr per event, and silence when nothing happens.

The logging package would cost a megabyte and buy nothing here. A log line must never stop the agent, so a
closed or full stderr is ignored. Callers pass words, never URLs or tokens.
"""

import json
import os
import time

from hms_svc.wire import rfc3339

STDERR = 2


def emit(event: str, **fields: object) -> None:
    """Write one event; `fields` are JSON values."""
    line = json.dumps({"at": rfc3339(time.time()), "event": event, **fields}, default=str, ensure_ascii=False)
    try:
        os.write(STDERR, line.encode("utf-8", "replace") + b"\n")
    except OSError:
        return
