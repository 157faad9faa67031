"""`hms`: the command for people and CI. tree.py puts it together, commands/ holds what it does."""

import os
from typing import Annotated

import typer

from hms_cli import shell, version
from hms_cli.shell import Globals
from hms_cli.tree import cli

EXIT_CODES = """
**Exit codes:** 0 ok. 1 server or connection failed. 2 usage. 3 rejected, or not possible. 4 time is up.
5 halted or rolled back without your asking. 6 not allowed. **hms diff** answers with its own: 0 same, 1 differs.
"""


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"hms {version()}")
        raise typer.Exit


@cli.callback(epilog=EXIT_CODES, no_args_is_help=True)
def hms(
    ctx: typer.Context,
    *,
    url: shell.Url = None,
    token: shell.Token = None,
    output: shell.Output = None,
    _shown: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Change the live configuration of services, safely.

    Results go to stdout, everything else to stderr.

    Example: **export HMS_MGT_URL=https://mgt.hms HMS_TOKEN=hms_...** and then **hms apply -f patch.yml
    --wait**
    """
    environment = Globals(os.environ.get("HMS_MGT_URL") or None, os.environ.get("HMS_TOKEN") or None)
    ctx.obj = Globals(url, token, output).over(environment)


def main() -> None:
    """Entry point of the `hms` script."""
    cli(prog_name="hms")


if __name__ == "__main__":
    main()
