"""`hms-mgt`: everything an operator starts. Wiring and words only."""

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
import uvicorn
from pydantic import ValidationError

from hms_mgt import bootstrap
from hms_mgt.api.app import create_app
from hms_mgt.bus import acl_rule
from hms_mgt.domain.access import Role
from hms_mgt.domain.ids import RULE, is_id
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import HmsError
from hms_mgt.secret import digest, new_token
from hms_mgt.settings import Settings
from hms_mgt.store.database import Database
from hms_mgt.store.migrate import upgrade
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.register import (
    NewDeployment,
    change_quota,
    register_deployment,
    register_tenant,
    register_token,
    revoke_token,
)
from hms_mgt.worker import work

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "HMS-MGT, the configuration control plane. Start with `hms-mgt up --demo`. In production run `migrate`, "
        "then `api` and `worker`, as many of each as you like, with HMS_DATABASE_URL, HMS_REDIS_URL, HMS_GOV_URL "
        "and HMS_KEYS set."
    ),
)
token_cli = typer.Typer(no_args_is_help=True, help="Service tokens.")
tenant_cli = typer.Typer(no_args_is_help=True, help="Tenants.")
service_cli = typer.Typer(no_args_is_help=True, help="Services that run for a tenant.")
cli.add_typer(token_cli, name="token")
cli.add_typer(tenant_cli, name="tenant")
cli.add_typer(service_cli, name="service")

DEFAULT_DATA = Path("hms-data")
_MOST_REPLICAS = 2**31 - 1  # what the database's integer holds


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
        local.up(local.Options(data, port, demo, ready_file), _say)
    except local.Failed as error:
        _fail(str(error))


@cli.command()
def api() -> None:
    """Serve the REST API on HMS_HOST:HMS_PORT."""
    settings = _settings()
    bootstrap.log_json()
    app = create_app(_built(settings))
    # uvicorn stops gracefully and then raises the signal again for whoever was there before: that is a clean end.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=5,
    )


@cli.command()
def worker() -> None:
    """Run the background work: reviews, windows, rollouts, publishing, reports. Any number side by side."""
    settings = _settings()
    bootstrap.log_json()
    asyncio.run(work(_built(settings)))


@cli.command()
def migrate() -> None:
    """Bring the database at HMS_DATABASE_URL to the newest schema."""
    upgrade(_settings().database_url)
    _say("the database has the newest schema")


@cli.command()
def keys(
    out: Annotated[Path, typer.Option(help="Directory for gov.key, mgt.key and trust.json.")] = Path("keys"),
) -> None:
    """Make the Ed25519 keys of GOV and MGT and the trust file that pins them. Nothing is overwritten.

    Give gov.key to HMS-GOV, mgt.key to HMS-MGT, and trust.json to both and to every sidecar.
    """
    try:
        bootstrap.write_keys(out)
    except OSError as error:
        _fail(str(error))
    _say(f"wrote gov.key, mgt.key and trust.json to {out}")


@cli.command("redis-acl")
def redis_acl(tenant: Annotated[str, typer.Argument(help="Its id, e.g. IACB.")]) -> None:
    """Print the Redis ACL rule for a tenant's sidecars: their own channel, snapshots and reports only.

    Add a password (`>secret`) and put the line into the ACL file of Redis.
    """
    if not is_id(tenant):
        _fail(f"{tenant!r} is not a tenant: it {RULE}")
    typer.echo(acl_rule(tenant))


@token_cli.command("create")
def create_token(
    role: Annotated[Role, typer.Option(help="What the token may do.")],
    tenant: Annotated[
        str | None, typer.Option(help="The tenant it is for; left out, every tenant. A release_manager needs one.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Names the actor in the audit; made up when left out.")] = None,
) -> None:
    """Make a service token and print it, once: only its hash is kept.

    A tenant that is not known yet is registered, without a quota: `tenant quota` sets one.
    """
    if role is Role.RELEASE_MANAGER and tenant is None:
        _fail("a release_manager is of one tenant: give --tenant")
    token = new_token()
    called = name or f"{role}-{digest(token)[:8]}"

    async def store(db: Database, now: datetime) -> None:
        if tenant is not None and await register_tenant(db, tenant, Quota(), now):
            _say(f"tenant {tenant} is new: registered, without a quota")
        await register_token(db, digest(token), StoredToken(called, role, tenant), now)

    _with_database(store)
    typer.echo(token)


@token_cli.command("revoke")
def revoke(name: Annotated[str, typer.Argument(help="What it was named when it was made.")]) -> None:
    """Make a token good for nothing, at once."""

    async def store(db: Database, now: datetime) -> None:
        await revoke_token(db, name, now)

    _with_database(store)
    _say(f"token {name} is revoked")


@tenant_cli.command("add")
def add_tenant(
    name: Annotated[str, typer.Argument(help="Its id, e.g. IACB.")],
    replicas: Annotated[
        int | None, typer.Option(help="Quota: most instances of all services together.", min=0, max=_MOST_REPLICAS)
    ] = None,
) -> None:
    """Register a tenant with its quota."""

    async def store(db: Database, now: datetime) -> None:
        if not await register_tenant(db, name, Quota(replicas), now):
            _fail(f"tenant {name} is registered already")

    _with_database(store)
    _say(f"tenant {name} is registered")


@tenant_cli.command("quota")
def quota(
    name: Annotated[str, typer.Argument(help="Its id, e.g. IACB.")],
    replicas: Annotated[int, typer.Option(help="Most instances of all services together.", min=0, max=_MOST_REPLICAS)],
) -> None:
    """Change a tenant's quota. Patches that were approved under the old one stay in force."""

    async def store(db: Database, now: datetime) -> None:
        await change_quota(db, name, Quota(replicas), now)

    _with_database(store)
    _say(f"tenant {name} may have {replicas} replicas")


@service_cli.command("add")
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
        _fail(f"/conf: is not UTF-8 (byte {error.start})")

    async def store(db: Database, now: datetime) -> None:
        await register_deployment(db, NewDeployment(tenant, service, version, text, orchestrator), now)

    _with_database(store)
    _say(f"{service} {version} is registered for {tenant}")


def _with_database(act: Callable[[Database, datetime], Coroutine[Any, Any, None]]) -> None:
    """Run one act against the database of the settings; an error of ours becomes one line."""

    async def run() -> None:
        db = Database(_settings().database_url)
        try:
            await act(db, datetime.now(UTC))
        finally:
            await db.close()

    try:
        asyncio.run(run())
    except HmsError as error:
        _fail("; ".join(f"{one.pointer}: {one.detail}" for one in error.problems) or error.detail)


def _settings() -> Settings:
    try:
        return Settings()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        missing = ", ".join(f"HMS_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        _fail(missing)


def _built(settings: Settings) -> Any:
    try:
        return bootstrap.build(settings)
    except (OSError, ValueError) as error:
        _fail(f"{error} (HMS_KEYS names the directory; `hms-mgt keys` makes the files)")


def _say(words: str) -> None:
    typer.echo(f"hms-mgt: {words}", err=True)


def _fail(words: str) -> NoReturn:
    typer.echo(f"hms-mgt: {words}", err=True)
    sys.exit(2)


def main() -> None:
    """Run the command line."""
    cli()
