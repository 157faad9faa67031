"""What the agent answers to each path, from its own view of itself.

/livez says that the loop turns: it is the loop that answers. /readyz says that the service has been seen working with
a configuration we know, now that it is to get traffic; a control plane that is away, a patch that failed or a STALE
instance must not take pods out of service, so these are told in words and in /metrics and never in the status.
"""

import json
from typing import Any, NamedTuple

from hms_svc.listener import View
from hms_svc.metrics import text

FAILING_SECONDS = 10.0


class Answer(NamedTuple):
    """Status, body and its kind."""

    status: int
    body: str
    kind: str = "text/plain; charset=utf-8"


def answer(path: str, view: View, *, local: bool) -> Answer:
    """The answer to one path; /status names key paths and windows and is for the local user only."""
    if path == "/livez":
        return livez(view(False))
    if path == "/readyz":
        return readyz(view(False))
    if path == "/metrics":
        return Answer(200, text(view(False)), "text/plain; version=0.0.4; charset=utf-8")
    if path == "/status" and local:
        return Answer(200, json.dumps(view(True)), "application/json")
    return Answer(404, "/livez, /readyz and /metrics are what there is\n")


def livez(view: dict[str, Any]) -> Answer:
    """200 while turns of the loop come to their end."""
    if view["failing_seconds"] > FAILING_SECONDS:
        return Answer(503, f"every turn of the loop has failed for {view['failing_seconds']:.0f} s\n")
    return Answer(200, "alive\n")


def readyz(view: dict[str, Any]) -> Answer:
    """200 once something has been confirmed to be in effect since the agent started."""
    stale = ", stale" if view["stale"] else ""
    if view["in_effect"]:
        return Answer(200, f"ready: {view['phase']}{stale}\n")
    why = view["trouble"] or ("waiting for the service to show it" if view["base"] else "there is no conf.yml yet")
    return Answer(503, f"not ready: {' '.join(why.split())}\n")
