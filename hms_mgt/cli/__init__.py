"""`hms-mgt`: everything an operator starts, a file a noun. Wiring and words only."""

import typer

from hms_mgt.cli import audit, run, service, tenant, token, trust

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
cli.add_typer(run.cli)
cli.add_typer(token.cli, name="token")
cli.add_typer(tenant.cli, name="tenant")
cli.add_typer(service.cli, name="service")
cli.add_typer(audit.cli, name="audit")
cli.add_typer(trust.cli, name="trust")


def main() -> None:
    """Run the command line."""
    cli()
