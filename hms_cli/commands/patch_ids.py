"""What all commands on one patch share: its two names, its address, and the wait for it."""

from typing import Annotated

import typer

from hms_cli import text
from hms_cli.errors import ClientError
from hms_cli.outcome import Code, Outcome, Patch, waits_for
from hms_cli.output import Shown
from hms_cli.progress import progress
from hms_cli.shell import Session
from hms_cli.waiting import Wait, follow

HOUSE = "/api/patch"
ENOUGH = 60.0  # seconds a wait takes by default: a sidecar confirms within a few

PatchId = Annotated[str, typer.Argument(metavar="ID", help="A patch: 784 or patch/784.")]
Waiting = Annotated[bool, typer.Option("--wait", help="Wait for the end of it, with progress on stderr.")]
Seconds = Annotated[float, typer.Option(min=0, help="Seconds to wait.")]
Key = Annotated[str | None, typer.Option(help="The same key and file never make a second patch.")]
File = Annotated[str, typer.Option("--file", "-f", help="A YAML or JSON file; - reads stdin.")]
Reason = Annotated[str | None, typer.Option(help="Why; it is kept in the audit.")]


def number_of(given: str, kind: str = "patch") -> int:
    """The number in `784` or `patch/784`. ClientError for anything else."""
    number = given.removeprefix(f"{kind}/")
    if not number.isascii() or not number.isdecimal():
        raise ClientError(Code.USAGE, f"{given!r} is not a {kind}; say 784 or {kind}/784")
    return int(number)


def path_of(number: int, rest: str = "") -> str:
    """Where a patch is in the API."""
    return f"{HOUSE}/{number}{rest}"


def wait_for(session: Session, number: int, wait: Wait, show: Shown) -> Code:
    """Follow a patch, print how it is in the end, and tell how the wait ended."""
    with progress(number) as seen:
        patch, outcome = follow(lambda left: session.client.look(path_of(number), left), wait, seen.show)
    if patch is not None:
        session.write(show(patch))
    session.say(f"patch/{number}: {outcome.words}", *_why(patch, outcome))
    return outcome.code


def _why(patch: Patch | None, outcome: Outcome) -> list[str]:
    """What stands between the patch and a good end, a line for each."""
    if patch is None or outcome.code is Code.OK:
        return []
    seen, waiting = patch.get("progress") or {}, waits_for(patch)
    words = [patch.get("status_reason"), *((patch.get("decision") or {}).get("reasons") or ())]
    words += [f"waiting for {waiting}"] if waiting else []
    words += [f"{name}: {one}" for name in ("failed", "overdue") for one in text.names(seen, name)]
    return _without_echoes([str(word) for word in words if word])


def _without_echoes(lines: list[str]) -> list[str]:
    """The lines that no earlier line already holds."""
    return [line for place, line in enumerate(lines) if not any(line in earlier for earlier in lines[:place])]
