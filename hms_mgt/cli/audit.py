"""The audit: take it out of the database, and verify it there or from what was taken out."""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, SupportsBytes, TextIO

import typer

from hms_mgt.cli.shell import fail, say, with_reader
from hms_mgt.domain import audit_export, chain
from hms_mgt.domain.audit_export import Export, Scope
from hms_mgt.domain.chain_walk import Finding, link_of
from hms_mgt.domain.succession import every_key
from hms_mgt.domain.verification import Evidence, verify
from hms_mgt.store import audit, catalog
from hms_mgt.store.database import EVERY_TENANT, Database

cli = typer.Typer(no_args_is_help=True, help="The audit: who did what, as a chain that shows what was tampered with.")

# An act is timed before it is committed, by this much at the most.
_UNDER_WAY = timedelta(minutes=1)
_QUIET_S = 2.0

_File = Annotated[
    typer.FileText | None,
    typer.Argument(
        help="An export; - reads standard input. Left out: the database at HMS_DATABASE_URL.",
        lazy=False,
        errors="replace",
    ),
]
_Heads = Annotated[
    typer.FileText | None,
    typer.Option(
        envvar="HMS_AUDIT_WITNESS",
        help="The ends that the worker kept outside the database: they show what was cut off or written anew.",
        lazy=False,
        errors="replace",
    ),
]
_Keys = Annotated[Path, typer.Option(envvar="HMS_KEYS", help="Directory with trust.json, where --trust is not given.")]


@cli.command("verify")
def verify_audit(
    file: _File = None,
    heads: _Heads = None,
    trust: Annotated[Path | None, typer.Option(envvar="HMS_TRUST", help="The file that pins MGT's keys.")] = None,
    keys: _Keys = Path("keys"),
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,  # noqa: FBT002
) -> None:
    """Say whether the audit is whole, and if it is not, which rows were changed, taken out, put in or moved.

    Exit code 0: it is. 1: it is not. 2: it cannot be told.
    """
    pinned = _trusted(trust or keys / "trust.json")
    # Before the rows: what is witnessed after they were read, they cannot hold.
    witness = [] if heads is None else heads.read().splitlines()
    export = _stored() if file is None else audit_export.read(_counted(file))
    if not export.links and export.scope is None:
        fail("this holds nothing of the audit")
    scope = export.scope or Scope(None, (), None)
    until = None if file is None else scope.complete_until
    findings = verify(export.links, Evidence(pinned, export.heads, witness, scope.chains, scope.tenant, until))
    findings += [Finding("unreadable", "?", f"line {number} holds no row") for number in export.unread]
    _report(export, findings, until, as_json=as_json)
    sys.exit(1 if findings else 0)


@cli.command("export")
def export_audit(
    tenant: Annotated[
        str | None, typer.Option(help="One tenant's rows only; left out, all and the platform's.")
    ] = None,
) -> None:
    """Write the audit to standard output: JSON lines that can be verified without the database."""

    async def write(db: Database, now: datetime) -> None:
        async with db.transaction(tenant or EVERY_TENANT, still=True) as tx:
            known = await catalog.tenants(tx)
            if tenant is not None and tenant not in known:
                fail(f"there is no tenant {tenant}")
            scope = Scope(tenant, tuple([tenant] if tenant else known), chain.stamp(now - _UNDER_WAY))
            for line in audit_export.lines(scope, await audit.heads(tx)):
                print(line)  # noqa: T201 - this is what the command puts out
            progress = _Progress()
            async for row in audit.everything(tx):
                print(audit_export.line(row))  # noqa: T201
                progress.step()

    with_reader(write)


def _stored() -> Export:
    """Read everything from the database, as it stands at one instant."""
    found: list[Export] = []

    async def read(db: Database, now: datetime) -> None:
        async with db.transaction(EVERY_TENANT, still=True) as tx:
            scope = Scope(None, tuple(await catalog.tenants(tx)), chain.stamp(now))
            progress = _Progress()
            links = []
            heads = await audit.heads(tx)
            async for row in audit.everything(tx):
                links.append(link_of(row))
                progress.step()
            found.append(Export(scope, heads, links, []))

    with_reader(read)
    return found[0]


def _trusted(path: Path) -> Sequence[SupportsBytes]:
    try:
        return every_key(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        fail(f"{error} (--trust names the file that pins MGT's keys)")


def _counted(lines: TextIO) -> Iterator[str]:
    progress = _Progress()
    for line in lines:
        yield line
        progress.step()


def _report(export: Export, findings: list[Finding], until: str | None, *, as_json: bool) -> None:
    """Say what was found, and about what: which chains, and until when. An export says both of itself, unsigned."""
    chains = sorted({str(head.get("chain")) for head in export.heads})
    if as_json:
        document = {
            "sound": not findings,
            "chains": chains,
            "until": until,
            "rows": len(export.links),
            "findings": [{**one._asdict(), "words": one.words} for one in findings],
        }
        typer.echo(json.dumps(document, indent=1))
    for one in findings if not as_json else ():
        typer.echo(one.words)
    verdict = f"broken ({_counted_as(findings, 'finding')})" if findings else "whole"
    rows, heads = _counted_as(export.links, "row"), _counted_as(chains, "signed end")
    when = "" if until is None else f", until {until}"
    say(f"the audit is {verdict}: {rows} and {heads} of chains{when}")


def _counted_as(things: Sequence[object], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


class _Progress:
    """Says how far a long run is, now and then."""

    def __init__(self) -> None:
        self._rows = 0
        self._next = time.monotonic() + _QUIET_S

    def step(self) -> None:
        """Count one row."""
        self._rows += 1
        if time.monotonic() >= self._next:
            say(f"{self._rows} rows so far")
            self._next = time.monotonic() + _QUIET_S
