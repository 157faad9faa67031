"""What all commands share: the global options, one place for errors, exit codes.

Global options may stand before the command or after it (`hms -o json get`, `hms get -o json`); the later
one counts. A command is a function of a Session and its own options that returns an exit code. It is
registered with `command`, which adds the global options and turns every foreseen failure into lines on
standard error and a code.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import typer
from rich.console import Console

from hms_cli import output, text
from hms_cli.client import Client
from hms_cli.errors import ClientError
from hms_cli.outcome import Code, Difference
from hms_cli.output import Format, Result

DEFAULT_URL = "http://127.0.0.1:8080"
Exit = Code | Difference
PATCHES, WHAT_RUNS, LIMITS = "Patches", "What runs, and why", "Limits"  # the panels of `hms --help`
_PANEL = "Global options"

Url = Annotated[str | None, typer.Option(help="Where HMS-MGT is. [env: HMS_MGT_URL]", rich_help_panel=_PANEL)]
Token = Annotated[str | None, typer.Option(help="Your bearer token. [env: HMS_TOKEN]", rich_help_panel=_PANEL)]
Output = Annotated[
    Format | None, typer.Option("--output", "-o", help="How to print the result.", rich_help_panel=_PANEL)
]

Filter = Annotated[str | None, typer.Option(help="Only these.")]


class Globals(NamedTuple):
    """The global options as given; None where they were not."""

    url: str | None = None
    token: str | None = None
    output: Format | None = None

    def over(self, earlier: "Globals") -> "Globals":
        """These, and the earlier ones where these are silent."""
        return Globals(self.url or earlier.url, self.token or earlier.token, self.output or earlier.output)


class Session:
    """One run of the command: where it talks to and how it prints."""

    def __init__(self, given: Globals) -> None:
        """Open nothing yet. ClientError when the URL or the token cannot be used."""
        self.format = given.output or Format.TABLE
        self.client = Client(given.url or DEFAULT_URL, given.token)

    def write(self, result: Result) -> None:
        """The result, on standard output."""
        output.write(result, self.format)

    def say(self, *lines: str) -> None:
        """Words beside the result, on standard error."""
        say(*lines)


def say(*lines: str) -> None:
    """One line each on standard error."""
    console = Console(stderr=True, highlight=False)
    for line in lines:
        console.print(text.plain(line), soft_wrap=True)


def noun(about: str | None = None) -> typer.Typer:
    """A group of commands, with words on what they are about where it has a name of its own."""
    return typer.Typer(
        rich_markup_mode="markdown", pretty_exceptions_enable=False, no_args_is_help=about is not None, help=about
    )


def command(
    cli: typer.Typer, name: str | None = None, panel: str | None = None
) -> Callable[[Callable[..., Exit]], Callable[..., None]]:
    """Register a function `(session, **options) -> Exit` as a command, by its own name unless another is given."""

    def register(work: Callable[..., Exit]) -> Callable[..., None]:
        @functools.wraps(work)
        def run(ctx: typer.Context, **given: Any) -> None:
            own = Globals(*(given.pop(name) for name in Globals._fields))
            raise typer.Exit(guarded(functools.partial(work, **given), own.over(ctx.obj)))

        run.__signature__ = _signature(work)  # type: ignore[attr-defined]
        return cli.command(name, rich_help_panel=panel)(run)

    return register


def guarded(work: Callable[[Session], Exit], given: Globals) -> Exit:
    """Run it; what was foreseen becomes words and a code, a bug stays a traceback."""
    try:
        session = Session(given)
        try:
            return work(session)
        finally:
            session.client.close()
    except ClientError as error:
        say(*error.lines)
        return error.code
    except KeyboardInterrupt:
        say("interrupted; what was submitted goes on")
        return Code.INTERRUPTED


def _signature(work: Callable[..., Exit]) -> inspect.Signature:
    _session, *own = inspect.signature(work, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    context = inspect.Parameter("ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    shared = [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in zip(Globals._fields, (Url, Token, Output), strict=True)
    ]
    return inspect.Signature([context, *(one.replace(kind=keyword) for one in own), *shared])
