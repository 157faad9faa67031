"""Patches, from the submission to the end."""

import json
from typing import Annotated

import typer

from hms_cli import document
from hms_cli.client import Body
from hms_cli.commands.patch_ids import (
    ENOUGH,
    HOUSE,
    File,
    Key,
    PatchId,
    Reason,
    Seconds,
    Waiting,
    number_of,
    path_of,
    wait_for,
)
from hms_cli.errors import ClientError
from hms_cli.outcome import Code, Goal
from hms_cli.shell import PATCHES, Filter, Session, command, noun
from hms_cli.views import patches as show
from hms_cli.waiting import Wait

cli = noun()


@command(cli, panel=PATCHES)
def apply(
    session: Session, *, file: File, wait: Waiting = False, timeout: Seconds = ENOUGH, idempotency_key: Key = None
) -> Code:
    """Submit a patch, and wait for its effect if you like.

    With --wait the command ends when every targeted instance has confirmed the patch (exit 0), when it was
    rejected (3), halted or rolled back (5), or when time is up (4; the patch goes on). A patch whose start lies
    in the future, or which a freeze holds, is waited for until it is SCHEDULED. A patch that needs approvals is
    waited for like any other, and the command says whose approval is missing: give it a --timeout to match.

    Example: **hms apply -f artist_registry_patch.yml --wait --timeout 60**
    """
    answer = session.client.post(HOUSE, document.read(file), key=idempotency_key)
    if wait:
        return wait_for(session, number_of(str(answer["patch_id"])), Wait(Goal.UNDERWAY, timeout), show.row)
    session.write(show.accepted(answer))
    return Code.OK


@command(cli, panel=PATCHES)
def get(
    session: Session,
    *,
    patch: Annotated[str | None, typer.Argument(metavar="ID", help="A patch: 784 or patch/784.")] = None,
    tenant: Filter = None,
    service: Filter = None,
    status: Filter = None,
) -> Code:
    """List patches, newest first, or show one.

    A patch that was submitted as an emergency is marked BREAK-GLASS.

    Example: **hms get --tenant IACB --status APPLIED -o json**
    """
    if patch is not None:
        session.write(show.row(session.client.get(path_of(number_of(patch)))))
        return Code.OK
    wanted = {"tenant": tenant, "service": service, "status": status and status.upper().replace("-", "_")}
    session.write(show.listing(session.client.pages(HOUSE, wanted)))
    return Code.OK


@command(cli, panel=PATCHES)
def status(
    session: Session,
    *,
    patch: PatchId,
    watch: Annotated[bool, typer.Option("--watch", help="Follow it until it settles.")] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="Seconds to watch; no limit when not given.")] = None,
) -> Code:
    """Tell all about one patch: decision, approvals, progress, what it waits for, what happened when.

    With --watch the command follows the patch until it is in effect or has ended, with the exit codes of
    apply --wait; a scheduled patch is followed through its start. Without --watch the exit code only says
    that the patch was found.

    Example: **hms status 784 --watch**
    """
    number = number_of(patch)
    if watch:
        return wait_for(session, number, Wait(Goal.IN_EFFECT, timeout), show.story)
    session.write(show.story(session.client.get(path_of(number))))
    return Code.OK


@command(cli, panel=PATCHES)
def window(  # noqa: PLR0913 - the window's own parts
    session: Session,
    *,
    patch: PatchId,
    end: Annotated[str | None, typer.Option(help="An instant: 2026-12-05T00:00Z.")] = None,
    duration: Annotated[str | None, typer.Option(help="Instead of --end: 14d, 12h, 1h30m.")] = None,
    start: Annotated[str | None, typer.Option(help="An instant, or now; the old start when not given.")] = None,
    reason: Reason = None,
    wait: Waiting = False,
    timeout: Seconds = ENOUGH,
    idempotency_key: Key = None,
) -> Code:
    """Extend, shorten or move the window of a patch.

    A signed window never changes: this makes a new patch with the new window, which is checked and approved like
    any other, and takes the place of the old one once it is in effect. The new patch is printed; --wait waits
    for it as apply --wait does. Without --start it begins now, or when the old one would have, if that is later.

    Example: **hms window 784 --duration 7d --reason "the market goes on" --wait**
    """
    number = number_of(patch)
    if (end is None) == (duration is None):
        raise ClientError(Code.USAGE, "say when it ends: --end or --duration, one of them")
    wanted = _given(start=start, end=end, duration=duration)
    body = Body(json.dumps({"window": wanted, **_given(reason=reason)}).encode())
    answer = session.client.post(path_of(number, "/window"), body, key=idempotency_key)
    if wait:
        return wait_for(session, number_of(str(answer["patch_id"])), Wait(Goal.UNDERWAY, timeout), show.row)
    session.write(show.accepted(answer))
    return Code.OK


@command(cli, panel=PATCHES)
def cancel(session: Session, *, patch: PatchId) -> Code:
    """Withdraw a patch that has not started. A patch in effect is ended by rollback.

    Example: **hms cancel 784**
    """
    session.write(show.row(session.client.post(path_of(number_of(patch), "/cancel"))))
    return Code.OK


@command(cli, panel=PATCHES)
def rollback(
    session: Session, *, patch: PatchId, reason: Reason = None, wait: Waiting = False, timeout: Seconds = ENOUGH
) -> Code:
    """End a patch now. Its instances go back to what they would be without it.

    With --wait the command ends when no instance runs with the patch any more (exit 0) or when time is up (4).

    Example: **hms rollback 784 --reason "error rate doubled" --wait**
    """
    number = number_of(patch)
    body = Body() if reason is None else Body(json.dumps({"reason": reason}).encode())
    answer = session.client.post(path_of(number, "/rollback"), body)
    if wait:
        return wait_for(session, number, Wait(Goal.GONE, timeout), show.row)
    session.write(show.row(answer))
    return Code.OK


def _given(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}
