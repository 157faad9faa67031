"""Opens transactions. Each one gives up the login's rights for the application role and names its tenant.

Row-level security then shows and accepts only that tenant's rows, whatever a query forgets to say.
Both settings are local to the transaction, so nothing leaks to the next user of a pooled connection.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hms_mgt.errors import Unavailable

# The scope of the platform's own workers and of tokens that are for every tenant. No tenant can have this id.
EVERY_TENANT = "*"
APP_ROLE = "hms_app"
_ENTER = text("SELECT set_config('role', :role, true), set_config('hms.tenant', :tenant, true)")


def sqlalchemy_url(url: str) -> str:
    """Name the psycopg driver in a plain `postgresql://` URL."""
    return make_url(url).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)


# A worker that froze or lost its host must not keep its locks, nor a dead database its callers.
_LIMITS = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "options": "-c idle_in_transaction_session_timeout=15s -c lock_timeout=5s -c statement_timeout=30s",
}


class Database:
    """The connection pool and the only way to a transaction."""

    def __init__(self, url: str, pool_size: int = 10) -> None:
        self.url = url
        self.engine: AsyncEngine = create_async_engine(
            sqlalchemy_url(url),
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_pre_ping=True,
            pool_timeout=5,
            connect_args=_LIMITS,
            # What a statement was given may be secret; errors show the statement only.
            hide_parameters=True,
        )

    @asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncIterator[AsyncConnection]:
        """Run a block in one transaction that sees `tenant` only; committed at the end, rolled back on error.

        Raises:
            Unavailable: when the database went away.
        """
        try:
            async with self.engine.begin() as tx:
                await tx.execute(_ENTER, {"role": APP_ROLE, "tenant": tenant})
                yield tx
        except DBAPIError as error:
            if error.connection_invalidated or "connection" in str(error.orig).lower():
                raise Unavailable("the database does not answer") from error
            raise
        except PoolTimeout as error:
            raise Unavailable("the database has no connection to spare") from error

    async def ping(self) -> None:
        """Ask whether the database is there and migrated.

        Raises:
            Unavailable: when it is not.
        """
        async with self.transaction(EVERY_TENANT) as tx:
            await tx.execute(text("SELECT FROM duty LIMIT 1"))

    async def close(self) -> None:
        """Close every pooled connection."""
        await self.engine.dispose()
