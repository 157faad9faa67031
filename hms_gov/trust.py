"""`hms-gov trust`: GOV's word on who is trusted next. Its keys live apart from MGT's, so the file comes to them."""

from pathlib import Path
from typing import Annotated, NoReturn

import typer

from hms_gov import settings
from hms_svc import wire
from hms_svc.trust import TRUST, Trust, last_step, load_step, resigned

cli = typer.Typer(no_args_is_help=True, help="Look at and sign trust files: who may sign for GOV and MGT.")


@cli.command("sign")
def sign(
    file: Annotated[Path, typer.Argument(help="The file that `hms-mgt trust next` made; signed in place.")],
    key: Annotated[str, typer.Option(envvar="HMS_GOV_KEY", help="File of GOV's key today; several with commas.")],
) -> None:
    """Add GOV's signature to the newest step of a trust file, after showing what it says.

    Sign with the keys that count today. Sidecars take the file over once GOV's and MGT's thresholds of *today* have
    signed it. Read what is shown: whoever is listed there may decide for every tenant.
    """
    try:
        keys = settings.read_keys(key)
        text = file.read_text(encoding="utf-8")
        step = last_step(text)
        _show(load_step(step))
        _write(file, resigned(text, wire.countersign(step, *keys)))
    except (OSError, ValueError, settings.UnusableError) as error:
        _refuse(str(error))
    typer.echo(f"signed as {', '.join(wire.key_id(one.verify_key) for one in keys)}: {file}")


def _show(trust: Trust) -> None:
    typer.echo(f"a {TRUST} of serial {trust.serial}, by which these may sign from then on:")
    for name, pins in (("gov", trust.gov), ("mgt", trust.mgt)):
        ids = ", ".join(wire.key_id(one) for one in pins.keys)
        typer.echo(f"  {name}: {pins.threshold} of {ids}")


def _write(path: Path, text: str) -> None:
    """Replace the file as a whole."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _refuse(reason: str) -> NoReturn:
    typer.echo(f"hms-gov: {reason}", err=True)
    raise typer.Exit(2)
