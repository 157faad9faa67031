"""The processes of the control plane, and what is made once before they start."""

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer

from hms_mgt import bootstrap
from hms_mgt.api.app import create_app
from hms_mgt.api.server import Server
from hms_mgt.bus import acl_rule
from hms_mgt.cli.shell import build, fail, one_line, read_settings, say
from hms_mgt.domain.ids import RULE, is_id
from hms_mgt.store.migrate import upgrade
from hms_mgt.worker import work

cli = typer.Typer()

DEFAULT_DATA = Path("hms-data")


@cli.command()
def up(
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.", min=0, max=65535)] = 8080,
    data: Annotated[
        Path, typer.Option(help="Where everything is kept; start again on it and it goes on.")
    ] = DEFAULT_DATA,
    demo: Annotated[  # noqa: FBT002 - a flag is what typer makes of it
        bool, typer.Option("--demo", help="Add the tenant IACB with three served instances.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option(help="Written as JSON when everything answers: URLs, tokens, instances.")
    ] = None,
) -> None:
    """Run the whole system on this machine: Postgres, Redis, HMS-GOV, the API and the workers.

    HMS_DATABASE_URL, HMS_REDIS_URL and HMS_GOV_URL, where set, are used instead of an own one.
    Ctrl-C ends everything it started.
    """
    from hms_mgt.local import up as local  # noqa: PLC0415 - the `local` extra is needed for this command only

    try:
        local.up(local.Options(data, port, demo, ready_file), say)
    except local.Failed as error:
        fail(str(error))


@cli.command()
def api() -> None:
    """Serve the REST API on HMS_HOST:HMS_PORT."""
    settings = read_settings()
    bootstrap.log_json()
    app = create_app(build(settings))
    # uvicorn stops gracefully and then raises the signal again for whoever was there before: that is a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    where = {"host": settings.host, "port": settings.port}
    Server(app, settings.trusted_proxies, **where, timeout_graceful_shutdown=5).run()


@cli.command()
def worker() -> None:
    """Run the background work: reviews, windows, rollouts, publishing, reports. Any number side by side."""
    settings = read_settings()
    bootstrap.log_json()
    asyncio.run(work(build(settings)))


@cli.command()
def migrate() -> None:
    """Bring the database at HMS_DATABASE_URL to the newest schema."""
    settings = read_settings()
    with one_line():
        upgrade(settings.database_url)
    say("the database has the newest schema")


@cli.command()
def keys(
    out: Annotated[Path, typer.Option(help="Directory for gov.key, mgt.key and trust.json.")] = Path("keys"),
    gov: Annotated[int, typer.Option(help="How many keys of GOV must sign each decision.", min=1, max=16)] = 1,
    mgt: Annotated[int, typer.Option(help="How many keys of MGT must sign each message.", min=1, max=16)] = 1,
) -> None:
    """Make the Ed25519 keys of GOV and MGT and the trust file that pins them. Nothing is overwritten.

    Give gov*.key to HMS-GOV, mgt*.key to HMS-MGT, and trust.json to HMS-MGT and to every sidecar. Later keys come by
    `hms-mgt trust next`.
    """
    try:
        bootstrap.write_keys(out, gov, mgt)
    except OSError as error:
        fail(str(error))
    say(f"wrote {gov} of gov*.key, {mgt} of mgt*.key and trust.json to {out}")


@cli.command("redis-acl")
def redis_acl(tenant: Annotated[str, typer.Argument(help="Its id, e.g. IACB.")]) -> None:
    """Print the Redis ACL rule for a tenant's sidecars: their own channel, snapshots and reports only.

    Add a password (`>secret`) and put the line into the ACL file of Redis.
    """
    if not is_id(tenant):
        fail(f"{tenant!r} is not a tenant: it {RULE}")
    typer.echo(acl_rule(tenant))
