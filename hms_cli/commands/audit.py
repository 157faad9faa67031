"""The audit: who did what, when, from where."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from hms_cli.outcome import Code
from hms_cli.shell import WHAT_RUNS, Filter, Session, command, noun
from hms_cli.views.audit import entries

cli = noun()
_HOUSE = "/api/audit"
_PAGE = 200
_Prefix = Annotated[str | None, typer.Option(help="Only these; a * at the end stands for anything.")]
_Instant = Annotated[str | None, typer.Option(help="An instant: 2026-11-24T09:00Z.")]


class Export(StrEnum):
    """What a whole export can be written as."""

    JSONL = "jsonl"
    CSV = "csv"


_MEDIA = {Export.JSONL: "application/x-ndjson", Export.CSV: "text/csv"}


@command(cli, panel=WHAT_RUNS)
def audit(  # noqa: PLR0913 - the filters there are
    session: Session,
    *,
    tenant: Filter = None,
    actor: Filter = None,
    action: _Prefix = None,
    subject: _Prefix = None,
    since: _Instant = None,
    until: _Instant = None,
    request_id: Filter = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest; an export has all.")] = 50,
    form: Annotated[Export | None, typer.Option("--format", help="Export all there is, oldest first.")] = None,
) -> Code:
    """Show who did what, newest first; every change and every denial is in it.

    With --format everything that was asked for is written as it comes, however much, in place of -o.

    Example: **hms audit --subject patch/784** or **hms audit --since 2026-11-01T00:00Z --format csv > november.csv**
    """
    query = {
        "tenant": tenant,
        "actor": actor,
        "action": action,
        "subject": subject,
        "since": since,
        "until": until,
        "request_id": request_id,
    }
    if form is None:
        session.write(entries(session.client.pages(_HOUSE, {**query, "limit": str(min(limit, _PAGE))}, limit)))
        return Code.OK
    for piece in session.client.export(_HOUSE, {**query, "format": form}, _MEDIA[form]):
        sys.stdout.buffer.write(piece)
    sys.stdout.flush()
    return Code.OK
