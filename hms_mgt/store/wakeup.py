"""Listens for the database's notifications. They are only hints: whoever is woken also looks by itself."""

import asyncio
from collections.abc import Iterable

import psycopg
import structlog
from psycopg import sql

from hms_mgt.store.duties import CHANNEL

_log = structlog.get_logger()
_RETRY_S = 1.0


async def listen(url: str, events: Iterable[asyncio.Event], stop: asyncio.Event) -> None:
    """Set every event at each notification, and once after each (re)connection, until `stop`."""
    targets = list(events)
    while not stop.is_set():
        try:
            async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
                await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                await _relay(connection, targets, stop)
        except psycopg.Error as error:
            _log.warning("listening broke off", error=type(error).__name__)
            await asyncio.sleep(_RETRY_S)


async def _relay(connection: psycopg.AsyncConnection, targets: list[asyncio.Event], stop: asyncio.Event) -> None:
    called = True  # what was notified while nobody listened is unknown: look once
    while not stop.is_set():
        for event in targets if called else ():
            event.set()
        called = False
        async for _ in connection.notifies(timeout=1.0, stop_after=1):
            called = True
