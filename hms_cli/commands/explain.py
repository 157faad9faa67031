"""Why a configuration is what it is, now or at any other instant."""

from typing import Annotated

import typer

from hms_cli.errors import ClientError
from hms_cli.outcome import Code
from hms_cli.shell import WHAT_RUNS, Session, command, noun
from hms_cli.views import effective as show

cli = noun()
_SHAPE = frozenset({"configuration", "keys"})


@command(cli, panel=WHAT_RUNS)
def explain(  # noqa: PLR0913 - the question's own parts
    session: Session,
    *,
    service: Annotated[str, typer.Argument(help="A service: ARTIST_REGISTRY_API.")],
    key: Annotated[str | None, typer.Argument(help="A key, dotted or /a/pointer: all its layers.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Your token's own when not given.")] = None,
    version: Annotated[str | None, typer.Option(help="Not needed where there is one, or with --instance.")] = None,
    instance: Annotated[str | None, typer.Option(help="As on this instance.")] = None,
    at: Annotated[str | None, typer.Option(help="An instant, past or to come: 2026-11-24T09:00Z; else now.")] = None,
) -> Code:
    """Show each key of a service's configuration, the patch that decides it, who wants that, and what comes next.

    With a KEY all its layers are told, the winner last: who, why, until when, and who approved it. The past is
    told as it was then, the future as it is planned now.

    Example: **hms explain ARTIST_REGISTRY_API rate_limit_rps --at 2026-11-24T09:00Z**
    """
    query = {"service": service, "tenant": tenant, "version": version, "instance": instance, "at": at}
    found = session.client.get("/api/effective", _SHAPE, query)
    session.say(show.heading(found))
    if key is None:
        session.write(show.keys(found))
        return Code.OK
    wanted = show.named(found, key)
    if not wanted:
        raise ClientError(Code.REJECTED, f"there is no key {key}; leave it out to see those there are")
    session.write(show.layers(found, wanted))
    return Code.OK
