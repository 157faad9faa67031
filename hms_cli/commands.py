"""The commands themselves: each asks, perhaps waits, prints one result and names its exit code."""

import json
from typing import Annotated

import typer

from hms_cli import document, output, text
from hms_cli.client import ClientError
from hms_cli.outcome import Code, Goal, Outcome, Patch
from hms_cli.progress import progress
from hms_cli.shell import Session, command
from hms_cli.waiting import Wait, follow

HOUSE = "/api/patch"
ENOUGH = 60.0  # seconds a wait takes by default: a sidecar confirms within a few

cli = typer.Typer(rich_markup_mode="markdown", pretty_exceptions_enable=False)

PatchId = Annotated[str, typer.Argument(metavar="ID", help="A patch: 784 or patch/784.")]
Waiting = Annotated[bool, typer.Option("--wait", help="Wait for the end of it, with progress on stderr.")]
Seconds = Annotated[float, typer.Option(min=0, help="Seconds to wait.")]
Key = Annotated[str | None, typer.Option(help="The same key and file never make a second patch.")]
File = Annotated[str, typer.Option("--file", "-f", help="A YAML or JSON file; - reads stdin.")]
Filter = Annotated[str | None, typer.Option(help="Only these.")]


@command(cli)
def apply(
    session: Session, *, file: File, wait: Waiting = False, timeout: Seconds = ENOUGH, idempotency_key: Key = None
) -> Code:
    """Submit a patch, and wait for its effect if you like.

    With --wait the command ends when every targeted instance has confirmed the patch (exit 0), when it was
    rejected (3), halted or rolled back (5), or when time is up (4; the patch goes on). A patch whose start
    lies in the future is waited for until it is SCHEDULED.

    Example: **hms apply -f artist_registry_patch.yml --wait --timeout 60**
    """
    given = document.read(file)
    answer = session.client.post(HOUSE, given.content, given.media, idempotency_key)
    if wait:
        return _follow(session, _id(str(answer["patch_id"])), Wait(Goal.UNDERWAY, timeout), output.patch)
    session.write(output.accepted(answer))
    return Code.OK


@command(cli)
def get(
    session: Session,
    *,
    patch: Annotated[str | None, typer.Argument(metavar="ID", help="A patch: 784 or patch/784.")] = None,
    tenant: Filter = None,
    service: Filter = None,
    status: Filter = None,
) -> Code:
    """List patches, newest first, or show one.

    Example: **hms get --tenant IACB --status APPLIED -o json**
    """
    if patch is not None:
        session.write(output.patch(session.client.get(_path(_id(patch)))))
        return Code.OK
    wanted = {"tenant": tenant, "service": service, "status": status and status.upper()}
    session.write(output.patches(session.client.pages(HOUSE, wanted)))
    return Code.OK


@command(cli)
def status(
    session: Session,
    *,
    patch: PatchId,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it settles.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to watch; no limit when not given.")] = None,
) -> Code:
    """Tell all about one patch: decision, progress, what it waits for, what happened when.

    With --watch the command follows the patch until it is in effect or has ended, with the exit codes of
    apply --wait; a scheduled patch is followed through its start. Without --watch the exit code only says
    that the patch was found.

    Example: **hms status 784 --watch**
    """
    number = _id(patch)
    if watch:
        return _follow(session, number, Wait(Goal.IN_EFFECT, timeout), output.story)
    session.write(output.story(session.client.get(_path(number))))
    return Code.OK


@command(cli)
def cancel(session: Session, *, patch: PatchId) -> Code:
    """Withdraw a patch that has not started. A patch in effect is ended by rollback.

    Example: **hms cancel 784**
    """
    session.write(output.patch(session.client.post(_path(_id(patch), "/cancel"))))
    return Code.OK


@command(cli)
def rollback(
    session: Session,
    *,
    patch: PatchId,
    reason: Annotated[str | None, typer.Option(help="Why; it is kept in the audit.")] = None,
    wait: Waiting = False,
    timeout: Seconds = ENOUGH,
) -> Code:
    """End a patch now. Its instances go back to what they would be without it.

    With --wait the command ends when no instance runs with the patch any more (exit 0) or when time is up (4).

    Example: **hms rollback 784 --reason "error rate doubled" --wait**
    """
    number = _id(patch)
    content = b"" if reason is None else json.dumps({"reason": reason}).encode()
    answer = session.client.post(_path(number, "/rollback"), content)
    if wait:
        return _follow(session, number, Wait(Goal.GONE, timeout), output.patch)
    session.write(output.patch(answer))
    return Code.OK


@command(cli)
def fleet(session: Session, *, tenant: Filter = None, service: Filter = None) -> Code:
    """Show which instances run, what they run, and when they were last heard of.

    Example: **hms fleet --service ARTIST_REGISTRY_API**
    """
    session.write(output.fleet(session.client.pages("/api/instance", {"tenant": tenant, "service": service})))
    return Code.OK


def _follow(session: Session, number: int, wait: Wait, show: output.Shown) -> Code:
    with progress(number) as seen:
        patch, outcome = follow(lambda left: session.client.look(_path(number), left), wait, seen.show)
    if patch is not None:
        session.write(show(patch))
    session.say(f"patch/{number}: {outcome.words}", *_why(patch, outcome))
    return outcome.code


def _why(patch: Patch | None, outcome: Outcome) -> list[str]:
    """What stands between the patch and a good end, a line for each."""
    if patch is None or outcome.code is Code.OK:
        return []
    seen = patch.get("progress") or {}
    words = [patch.get("status_reason"), *((patch.get("decision") or {}).get("reasons") or ())]
    words += [f"waiting for {seen['waiting_for']}"] if seen.get("waiting_for") else []
    words += [f"{name}: {one}" for name in ("failed", "overdue") for one in text.names(seen, name)]
    return _without_echoes([str(word) for word in words if word])


def _without_echoes(lines: list[str]) -> list[str]:
    """The lines that no earlier line already holds."""
    return [line for place, line in enumerate(lines) if not any(line in earlier for earlier in lines[:place])]


def _id(given: str) -> int:
    number = given.removeprefix("patch/")
    if not number.isascii() or not number.isdecimal():
        raise ClientError(Code.USAGE, f"{given!r} is not a patch; say 784 or patch/784")
    return int(number)


def _path(number: int, rest: str = "") -> str:
    return f"{HOUSE}/{number}{rest}"
