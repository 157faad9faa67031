"""Quotas: what a tenant may use."""

import json
from collections.abc import Mapping
from contextlib import suppress
from math import isfinite
from typing import Annotated, Any

import typer

from hms_cli.client import Body, step
from hms_cli.errors import ClientError
from hms_cli.outcome import Code
from hms_cli.shell import Session, command, noun
from hms_cli.views import quotas as show

cli = noun("What a tenant may use, all its services together.")
_SHAPE = frozenset({"tenant", "platform", "usage"})
_NONE = "none"
_Tenant = Annotated[str, typer.Argument(help="A tenant: IACB.")]
_Replicas = Annotated[str | None, typer.Option(metavar="MOST", help="Instances: 12, or none for no bound.")]
_Cpu = Annotated[str | None, typer.Option(metavar="MOST", help="Processors of all together: 16, 14500m, or none.")]
_Memory = Annotated[str | None, typer.Option(metavar="MOST", help="Memory of all together: 64Gi, or none.")]
_Knobs = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=MOST", help="The most a patch may set a key to, or none; repeatable."),
]


@command(cli, "show")
def show_quota(session: Session, *, tenant: _Tenant) -> Code:
    """Show a tenant's quota, what is used of it, and the platform's cap: of the two bounds the lower one counts.

    Example: **hms quota show IACB**
    """
    session.write(show.quota(session.client.get(_path(tenant), _SHAPE)))
    return Code.OK


@command(cli, "set")
def set_quota(  # noqa: PLR0913 - a quota's own parts
    session: Session,
    *,
    tenant: _Tenant,
    replicas: _Replicas = None,
    cpu: _Cpu = None,
    memory: _Memory = None,
    knob: _Knobs = None,
) -> Code:
    """Change the bounds that are named, and no others. Patches in effect stay, even where that is more.

    The quota is read and then replaced, unless somebody else replaced it in between: then nothing is changed
    (exit 3).

    Example: **hms quota set IACB --replicas 12 --memory 64Gi --knob rate_limit_rps=500**
    """
    wanted = {"replicas": replicas, "cpu": cpu, "memory": memory}
    named = {name: _bound(name, value) for name, value in wanted.items() if value is not None}
    caps = dict(_cap(one) for one in knob or ())
    if not named and not caps:
        raise ClientError(Code.USAGE, "name a bound: --replicas, --cpu, --memory or --knob")
    before = session.client.read(_path(tenant), _SHAPE)
    body = Body(json.dumps(_changed(before.document, named, caps)).encode())
    session.write(show.quota(session.client.put(_path(tenant), _SHAPE, body, before.etag)))
    return Code.OK


def _path(tenant: str) -> str:
    return f"/api/tenant/{step(tenant)}/quota"


def _changed(quota: Mapping[str, Any], named: Mapping[str, Any], caps: Mapping[str, Any]) -> dict[str, Any]:
    """The bounds as they are with those that are named in their place."""
    knobs = {**(quota.get("knobs") or {}), **caps}
    return {
        **{name: quota.get(name) for name in ("replicas", "cpu", "memory")},
        **named,
        "knobs": {name: most for name, most in knobs.items() if most is not None},
    }


def _bound(name: str, value: str) -> str | float | None:
    """A bound as the API takes it: a number of replicas, a quantity as it was written, or none."""
    if value == _NONE:
        return None
    return _number(value, "--replicas") if name == "replicas" else value


def _cap(given: str) -> tuple[str, float | None]:
    name, _, most = given.rpartition("=")
    if not name:
        raise ClientError(Code.USAGE, f"--knob {given!r}: say KEY=MOST, such as rate_limit_rps=500")
    return name, None if most == _NONE else _number(most, f"--knob {name}")


def _number(given: str, where: str) -> float:
    """A number, whole where it was written so; the server decides which are allowed."""
    with suppress(ValueError):
        return int(given)
    with suppress(ValueError):
        found = float(given)
        if isfinite(found):
            return found
    raise ClientError(Code.USAGE, f"{where}: {given!r} is not a number, nor {_NONE}")
