"""What every command needs: the settings, the database, and one way to speak and to give up."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NoReturn

import typer
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from hms_mgt import bootstrap
from hms_mgt.errors import HmsError, Invalid
from hms_mgt.parts import Parts
from hms_mgt.settings import Settings
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database

_ABOUT_KEYS = "(HMS_KEYS names the directory; `hms-mgt keys` makes the files)"


def with_database(act: Callable[[Database, datetime], Coroutine[Any, Any, None]]) -> None:
    """Run one act against the database of the settings; an error becomes one line."""
    settings = read_settings()
    _run(settings, _signer(settings), act)


def with_reader(read: Callable[[Database, datetime], Coroutine[Any, Any, None]]) -> None:
    """Read the database of the settings; for that nobody needs MGT's key."""
    _run(read_settings(), None, read)


def _run(
    settings: Settings, signer: Signer | None, act: Callable[[Database, datetime], Coroutine[Any, Any, None]]
) -> None:
    async def run() -> None:
        db = Database(settings.database_url, signer)
        try:
            await act(db, datetime.now(UTC))
        finally:
            await db.close()

    with one_line():
        asyncio.run(run())


@contextmanager
def one_line() -> Iterator[None]:
    """Make one line of what the database has against something, and of an error of ours."""
    try:
        yield
    except HmsError as error:
        fail(_listed(error))
    except SQLAlchemyError as error:
        words = str(getattr(error, "orig", None) or error).splitlines()
        fail(f"the database at HMS_DATABASE_URL: {words[0]} (`hms-mgt migrate` makes the tables)")


def read_settings() -> Settings:
    """Return the settings of the environment, or end with the names of those that are missing or wrong."""
    try:
        return Settings()  # type: ignore[call-arg]  # from the environment
    except ValidationError as error:
        missing = ", ".join(f"HMS_{'_'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors())
        fail(missing)


def build(settings: Settings) -> Parts:
    """Return the parts, or end with words on what cannot be read."""
    try:
        return bootstrap.build(settings)
    except Invalid as error:
        fail(f"HMS_OIDC: {_listed(error)}")
    except (OSError, ValueError) as error:
        fail(f"{error} {_ABOUT_KEYS}")


def _listed(error: HmsError) -> str:
    return "; ".join(f"{one.pointer}: {one.detail}" for one in error.problems) or error.detail


def _signer(settings: Settings) -> Signer:
    try:
        return bootstrap.read_keys(settings.keys)[0]
    except (OSError, ValueError) as error:
        fail(f"{error} {_ABOUT_KEYS}")


def say(words: str) -> None:
    """Tell the operator something, beside what the command puts out."""
    typer.echo(f"hms-mgt: {words}", err=True)


def fail(words: str) -> NoReturn:
    """End with words on what the operator has to put right."""
    typer.echo(f"hms-mgt: {words}", err=True)
    sys.exit(2)
