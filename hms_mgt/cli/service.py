"""Services that run for a tenant."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from hms_mgt.cli.shell import fail, say, with_database
from hms_mgt.store.database import Database
from hms_mgt.usecases.register import NewDeployment, register_deployment

cli = typer.Typer(no_args_is_help=True, help="Services that run for a tenant.")


@cli.command("add")
def add_service(
    service: Annotated[str, typer.Argument(help="Its id, e.g. ARTIST_REGISTRY_API.")],
    tenant: Annotated[str, typer.Option(help="The tenant it runs for.")],
    version: Annotated[str, typer.Option(help="The version that runs, e.g. 2.1.0.")],
    conf: Annotated[Path, typer.Option(help="Its conf.yml before any patch.", exists=True, dir_okay=False)],
    orchestrator: Annotated[str | None, typer.Option(help="Who starts its instances: local, or nobody.")] = None,
) -> None:
    """Register a service version that runs for a tenant, so that patches may name it."""
    try:
        text = conf.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        fail(f"/conf: is not UTF-8 (byte {error.start})")

    async def store(db: Database, now: datetime) -> None:
        await register_deployment(db, NewDeployment(tenant, service, version, text, orchestrator), now)

    with_database(store)
    say(f"{service} {version} is registered for {tenant}")
