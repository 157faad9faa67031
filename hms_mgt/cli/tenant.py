"""Tenants and their quotas."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from hms_mgt.cli.shell import fail, say, with_database
from hms_mgt.domain.access import OPERATOR
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.quota_document import read_quota
from hms_mgt.store.database import Database
from hms_mgt.usecases.govern import Change, see_quota, set_quota
from hms_mgt.usecases.register import register_tenant

cli = typer.Typer(no_args_is_help=True, help="Tenants.")

_NONE = "none"
_Name = Annotated[str, typer.Argument(help="Its id, e.g. IACB.")]
_Replicas = Annotated[str | None, typer.Option(help="Most instances of all services together, e.g. 12, or none.")]
_Cpu = Annotated[str | None, typer.Option(help="Most processors of them together, e.g. 16 or 14500m, or none.")]
_Memory = Annotated[str | None, typer.Option(help="Most memory of them together, e.g. 64Gi, or none.")]
_Knob = Annotated[
    list[str],
    typer.Option(
        default_factory=list, metavar="NAME=MAX", help="The most a knob may be set to, or none; once for each knob."
    ),
]


@cli.command("add")
def add_tenant(name: _Name, knob: _Knob, replicas: _Replicas = None, cpu: _Cpu = None, memory: _Memory = None) -> None:
    """Register a tenant with its quota. A bound that is left out is none."""
    asked = _asked(replicas, cpu, memory)

    async def store(db: Database, now: datetime) -> None:
        if not await register_tenant(db, name, _changed(Quota(), asked, knob), now):
            fail(f"tenant {name} is registered already")

    with_database(store)
    say(f"tenant {name} is registered")


@cli.command("quota")
def quota(name: _Name, knob: _Knob, replicas: _Replicas = None, cpu: _Cpu = None, memory: _Memory = None) -> None:
    """Change a tenant's quota: the bounds that are named, and no others. With none named it is only shown.

    Patches that were approved under the old one stay in force.
    """
    asked = _asked(replicas, cpu, memory)

    async def store(db: Database, now: datetime) -> None:
        present = (await see_quota(db, OPERATOR, name, now)).quota
        change = Change(_changed(present, asked, knob), frozenset({present.version}))
        holding = await set_quota(db, OPERATOR, name, change, now)
        say(f"tenant {name} may have {_words(holding.quota)}")

    with_database(store)


def _asked(replicas: str | None, cpu: str | None, memory: str | None) -> dict[str, Any]:
    """Return the bounds that are named, None where they are to be none."""
    given = {"replicas": replicas, "cpu": cpu, "memory": memory}
    named = {bound: None if text == _NONE else text for bound, text in given.items() if text is not None}
    return named | {bound: _number(text, "--replicas") for bound, text in named.items() if text and bound == "replicas"}


def _changed(present: Quota, asked: dict[str, Any], knobs: Sequence[str]) -> Quota:
    caps = dict(present.knobs)
    for text in knobs:
        name, _, most = text.rpartition("=")
        if most == _NONE:
            caps.pop(name, None)
        else:
            caps[name] = _number(most, f"--knob {text}")
    return read_quota(present.bounds() | asked | {"knobs": caps})


def _number(text: str, where: str) -> int | float:
    try:
        number = float(text)
    except ValueError:
        fail(f"{where}: {text!r} is not a number")
    return int(number) if number.is_integer() else number


def _words(bounds: Quota) -> str:
    resources = [f"{value} {name}" for name, value in bounds.bounds().items() if name != "knobs" and value is not None]
    caps = [f"{name} up to {cap}" for name, cap in bounds.knobs.items()]
    return ", ".join(resources + caps) or "whatever the platform cap allows"
