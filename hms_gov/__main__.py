"""`hms-gov`: start the governance service. Wiring only; it is the one place that reads the environment."""

import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import structlog
import typer
import uvicorn
from fastapi import FastAPI
from nacl.signing import SigningKey

from hms_gov import logs, settings, trust
from hms_gov.app import create_app
from hms_gov.policy import Policy
from hms_svc import wire

GRACE = 3  # seconds an answer in progress may take after SIGTERM

_Keys = Annotated[
    str,
    typer.Option(
        envvar="HMS_GOV_KEY",
        help="File of the signing key (base64 of a 32-byte seed); several, with commas, sign every decision together.",
    ),
]

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@cli.callback()
def hms_gov() -> None:
    """HMS-GOV, the governance service: is this patch compliant? A signed answer."""


cli.add_typer(trust.cli, name="trust")


@cli.command()
def serve(
    key: _Keys,
    host: Annotated[str, typer.Option(envvar="HMS_GOV_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="HMS_GOV_PORT", help="Port; 0 takes a free one.")] = 8081,
    policy: Annotated[
        Path,
        typer.Option(envvar="HMS_GOV_POLICY", help="Folder of .rego files.", show_default="shipped policy"),
    ] = settings.SHIPPED_POLICY,
) -> None:
    """Answer POST /decisions with signed verdicts, and POST /evaluations, for dry runs, with unsigned ones.

    **Make a key** and start: `(umask 077; head -c 32 /dev/urandom | base64 > gov.key)` then `hms-gov serve
    --key gov.key`. The first log line names the public key, for the agents' trust file.

    **Write a policy** as files of `package hms.patch` with `import rego.v1` in one folder:

    - `allow` must be exactly true.

    - `deny contains "a sentence for the author" if ...` refuses; every sentence is shown.

    - `obligations contains {"approvals": 2, "roles": ["approver"]} if ...` asks for people's approval first.

    The question is `input`: patch_id, tenant, service, version_selector, changes, window.start, window.end,
    window.days (null without an end), priority, author, author_role, reason, break_glass. Start from the shipped files;
    they explain themselves. Files are read again when they change. What is undefined, fails or has another
    type denies. The engine does not report a misspelt variable, so run `opa check --strict` on the folder
    before you install it.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    logs.configure()
    try:
        keys = settings.read_keys(key)
        folder = settings.read_policy_folder(policy)
        listener = _listen(host, port)
    except settings.UnusableError as error:
        _refuse(str(error))
    rules = Policy(folder)
    _announce(listener, keys, folder, [*map(settings.exposed, settings.key_paths(key)), rules.fault()])
    _run(create_app(rules, *keys), listener)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise settings.UnusableError(f"cannot listen on {host}:{port}: {error}") from error


def _announce(listener: socket.socket, keys: Sequence[SigningKey], folder: Path, warnings: list[str | None]) -> None:
    """Say where and as whom the service answers, and what an operator should mend."""
    log = structlog.get_logger("hms_gov")
    host, port = listener.getsockname()[:2]
    told = [(wire.key_id(key.verify_key), wire.b64(bytes(key.verify_key))) for key in keys]
    log.info(
        "listening",
        host=host,
        port=port,
        keyid=",".join(keyid for keyid, _ in told),
        public=",".join(public for _, public in told),
        policy=str(folder),
    )
    for detail in filter(None, warnings):
        log.warning("attention", detail=detail)


def _run(app: FastAPI, listener: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT; uvicorn raises the signal again once it is done."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, server_header=False, timeout_graceful_shutdown=GRACE
    )
    uvicorn.Server(config).run(sockets=[listener])


def _end(_number: int, _frame: object) -> NoReturn:
    """Being told to end is a clean end."""
    raise SystemExit(0)


def _refuse(reason: str) -> NoReturn:
    typer.echo(f"hms-gov: {reason}", err=True)
    raise typer.Exit(2)


def main() -> None:
    """Entry point of the `hms-gov` script."""
    cli(prog_name="hms-gov")


if __name__ == "__main__":
    main()
