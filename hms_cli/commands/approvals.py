"""What people say about a patch that waits for them."""

import json
from typing import Annotated

import typer

from hms_cli.client import Body
from hms_cli.commands.patch_ids import PatchId, number_of, path_of
from hms_cli.outcome import Code, Patch, waits_for
from hms_cli.shell import PATCHES, Session, command, noun
from hms_cli.views import patches as show

cli = noun()


@command(cli, panel=PATCHES)
def approve(
    session: Session,
    *,
    patch: PatchId,
    comment: Annotated[str | None, typer.Option(help="What you looked at; it is kept in the record.")] = None,
) -> Code:
    """Approve a patch that awaits approval. The last approval that is asked for lets it through.

    The author's word never counts, and everybody has one word for each patch. Look at it with hms status first.

    Example: **hms approve 784 --comment "tried on staging"**
    """
    body = Body() if comment is None else Body(json.dumps({"comment": comment}).encode())
    return _told(session, session.client.post(path_of(number_of(patch), "/approve"), body))


@command(cli, panel=PATCHES)
def reject(
    session: Session,
    *,
    patch: PatchId,
    comment: Annotated[str, typer.Option(help="Why; the author reads it.")],
) -> Code:
    """Reject a patch that awaits approval. It is not carried out, whoever else approved it.

    Example: **hms reject 784 --comment "not before the market is over"**
    """
    body = Body(json.dumps({"comment": comment}).encode())
    return _told(session, session.client.post(path_of(number_of(patch), "/reject"), body))


def _told(session: Session, patch: Patch) -> Code:
    session.write(show.row(patch))
    waiting = waits_for(patch)
    if waiting:
        session.say(f"patch/{patch['patch_id']}: waiting for {waiting}")
    return Code.OK
