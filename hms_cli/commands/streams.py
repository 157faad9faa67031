"""Streams: the ordered changes of one tenant's service, and the way back to an earlier state."""

import json
from typing import Annotated

import typer

from hms_cli.client import Body, step
from hms_cli.commands.patch_ids import Reason
from hms_cli.outcome import Code
from hms_cli.shell import Session, command, noun
from hms_cli.views import streams as show

cli = noun("What a service's instances were given, revision by revision, and the way back.")
_SHAPE = frozenset({"revision", "ended", "resubmitted", "lost"})
_Service = Annotated[str, typer.Argument(help="A service: ARTIST_REGISTRY_API.")]
_Tenant = Annotated[str, typer.Option(help="The tenant it runs for.")]


@command(cli)
def revisions(
    session: Session,
    *,
    service: _Service,
    tenant: _Tenant,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
) -> Code:
    """List which patches were in force at each revision, newest first.

    Example: **hms stream revisions ARTIST_REGISTRY_API --tenant IACB**
    """
    found = session.client.pages(_path(tenant, service, "revision"), {"limit": str(min(limit, 200))}, limit)
    session.write(show.revisions(found))
    return Code.OK


@command(cli)
def rollback(
    session: Session,
    *,
    service: _Service,
    revision: Annotated[int, typer.Argument(min=1, help="The revision to go back to.")],
    tenant: _Tenant,
    reason: Reason = None,
) -> Code:
    """Take a service back to what was in force at a revision, by a new revision.

    Patches that came since end at once. Those that have left since are submitted anew, for the rest of their
    window; a window that is over, or a conflict, keeps a patch from coming back, and then the exit code is 3.

    Example: **hms stream rollback ARTIST_REGISTRY_API 12 --tenant IACB --reason "as before the market"**
    """
    document = {"revision": revision, **({} if reason is None else {"reason": reason})}
    body = Body(json.dumps(document).encode())
    done = session.client.post_once(_path(tenant, service, "rollback"), body, _SHAPE)
    session.write(show.returned(done))
    session.say(show.heading(done))
    return Code.REJECTED if done["lost"] else Code.OK


def _path(tenant: str, service: str, rest: str) -> str:
    return f"/api/stream/{step(tenant)}/{step(service)}/{rest}"
