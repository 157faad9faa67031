"""Service tokens."""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from hms_mgt.cli.shell import say, with_database, with_reader
from hms_mgt.domain.access import OPERATOR, Role
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.service_token import parse_expiry
from hms_mgt.domain.window import rfc3339
from hms_mgt.secret import digest, new_token
from hms_mgt.store.database import Database
from hms_mgt.store.tokens import KnownToken, StoredToken
from hms_mgt.usecases.register import register_tenant
from hms_mgt.usecases.tokens import list_tokens, register_token, revoke_token

cli = typer.Typer(no_args_is_help=True, help="Service tokens.")
_PAGE = 200


@cli.command("create")
def create_token(
    role: Annotated[Role, typer.Option(help="What the token may do.")],
    tenant: Annotated[
        str | None,
        typer.Option(help="The tenant it is for; left out, every tenant. A release_manager or approver needs one."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Names the actor in the audit; made up when left out.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 90d from now, or an instant; left out, when it is revoked.")
    ] = None,
) -> None:
    """Make a service token and print it, once: only its hash is kept.

    A tenant that is not known yet is registered, without a quota: `tenant quota` sets one.
    """
    token = new_token()
    called = name or f"{role}-{digest(token)[:8]}"

    async def store(db: Database, now: datetime) -> None:
        until = None if expires is None else parse_expiry(expires, now)
        if tenant is not None and await register_tenant(db, tenant, Quota(), now):
            say(f"tenant {tenant} is new: registered, without a quota")
        await register_token(db, digest(token), StoredToken(called, role, tenant, until), now)

    with_database(store)
    typer.echo(token)


@cli.command("list")
def show_tokens(
    tenant: Annotated[str | None, typer.Option(help="Only the tokens for this tenant.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As a JSON list.")] = False,  # noqa: FBT002 - a flag
) -> None:
    """List the tokens: for whom they are, until when, and when they were last used. Nobody can show one again."""
    found: list[KnownToken] = []

    async def read(db: Database, _: datetime) -> None:
        while page := await list_tokens(db, OPERATOR, tenant, found[-1].name if found else "", _PAGE):
            found.extend(page)

    with_reader(read)
    rows = [_shown(one) for one in found]
    typer.echo(json.dumps(rows, indent=1) if as_json else _table(rows))


def _shown(one: KnownToken) -> dict[str, Any]:
    return {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in one._asdict().items()}


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Align what is to be read by a person; `-` stands where there is nothing."""
    lines = [
        [name.upper() for name in KnownToken._fields],
        *([str(cell or "-") for cell in row.values()] for row in rows),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@cli.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="What it was named when it was made.")]) -> None:
    """Make a token good for nothing, within seconds. Twice is once."""

    async def store(db: Database, now: datetime) -> None:
        await revoke_token(db, OPERATOR, name, now)

    with_database(store)
    say(f"token {name} is revoked")
