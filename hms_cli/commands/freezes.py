"""Freezes: times in which no rollout begins."""

import json
from typing import Annotated

import typer

from hms_cli.client import Body
from hms_cli.commands.patch_ids import number_of
from hms_cli.errors import ClientError
from hms_cli.outcome import Code
from hms_cli.shell import Filter, Session, command, noun
from hms_cli.views import freezes as show

cli = noun("Times in which no rollout begins. What ends or goes back is never held.")
_HOUSE = "/api/freeze"
_SHAPE = frozenset({"freeze_id", "end"})
_Role = Annotated[
    list[str] | None,
    typer.Option(metavar="ROLE", help="Authors in this role are not held, on record; repeatable."),
]


@command(cli, "list")
def list_freezes(
    session: Session,
    *,
    tenant: Filter = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over or were lifted, too.")] = False,
) -> Code:
    """List the freezes that are on or to come, newest first.

    Example: **hms freeze list --tenant IACB --all**
    """
    query = {"tenant": tenant, "all": "true" if every else None}
    session.write(show.listing(session.client.pages(_HOUSE, query)))
    return Code.OK


@command(cli)
def add(  # noqa: PLR0913 - a freeze's own parts
    session: Session,
    *,
    reason: Annotated[str, typer.Option(help="Why; whoever is held reads it.")],
    tenant: Annotated[str | None, typer.Option(help="Whose rollouts are held.")] = None,
    platform: Annotated[bool, typer.Option("--platform", help="Instead of --tenant: everybody's.")] = False,
    start: Annotated[str | None, typer.Option(help="An instant, or now, which it is when not given.")] = None,
    end: Annotated[str | None, typer.Option(help="An instant: 2027-01-04T06:00Z.")] = None,
    duration: Annotated[str | None, typer.Option(help="Instead of --end: 14d, 12h, 1h30m.")] = None,
    except_role: _Role = None,
) -> Code:
    """Freeze a tenant or the whole platform: no rollout begins meanwhile.

    What is in effect stays so; a patch whose time comes is held and begins afterwards.

    Example: **hms freeze add --tenant IACB --start 2026-12-18T18:00Z --duration 17d --reason holidays**
    """
    if (tenant is None) != platform:
        raise ClientError(Code.USAGE, "say whom it holds: --tenant or --platform, one of them")
    if (end is None) == (duration is None):
        raise ClientError(Code.USAGE, "say when it ends: --end or --duration, one of them")
    given = {"tenant": tenant, "start": start, "end": end, "duration": duration, "except_roles": except_role or None}
    document = {"reason": reason, **{name: value for name, value in given.items() if value is not None}}
    session.write(show.row(session.client.post_once(_HOUSE, Body(json.dumps(document).encode()), _SHAPE)))
    return Code.OK


@command(cli)
def lift(
    session: Session,
    *,
    freeze: Annotated[str, typer.Argument(metavar="ID", help="A freeze: 3 or freeze/3.")],
    reason: Annotated[str | None, typer.Option(help="Why; it is kept in the audit.")] = None,
) -> Code:
    """End a freeze before its time: what it held begins. Its record stays.

    Example: **hms freeze lift 3 --reason "the market opens earlier"**
    """
    number = number_of(freeze, "freeze")
    body = Body() if reason is None else Body(json.dumps({"reason": reason}).encode())
    session.write(show.row(session.client.post(f"{_HOUSE}/{number}/lift", body, shape=_SHAPE)))
    return Code.OK
