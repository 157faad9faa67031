"""Puts the commands together."""

from hms_cli.commands import approvals, audit, diff, explain, fleet, freezes, patches, quotas, streams
from hms_cli.shell import LIMITS, WHAT_RUNS, noun

cli = noun()
for unnamed in (patches, diff, approvals, fleet, explain, audit):
    cli.add_typer(unnamed.cli)
cli.add_typer(streams.cli, name="stream", rich_help_panel=WHAT_RUNS)
cli.add_typer(quotas.cli, name="quota", rich_help_panel=LIMITS)
cli.add_typer(freezes.cli, name="freeze", rich_help_panel=LIMITS)
