"""Opens transactions. Each one gives up the login's rights for the application role and names its tenant.

Row-level security then shows and accepts only that tenant's rows, whatever a query forgets to say.
Both settings are local to the transaction, so nothing leaks to the next user of a pooled connection.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from hms_mgt.errors import Unavailable
from hms_mgt.signer import Signer
from hms_mgt.store import trail
from hms_mgt.store.audit_chain import AuditChain, Written

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
    # The audit is hashed with its instants as ISO 8601, whatever somebody set for the database or the login.
    "options": (
        "-c idle_in_transaction_session_timeout=15s -c lock_timeout=5s -c statement_timeout=30s -c datestyle=ISO"
    ),
}
# Somebody else held a lock for too long, two held what the other wanted, one was overtaken, or it took too long.
_BUSY = frozenset({"55P03", "40P01", "40001", "57014"})


class Database:
    """The connection pool and the only way to a transaction.

    What a transaction does is chained to the audit at its very end, so that a chain is locked for an instant only.
    Who only reads needs no signer.
    """

    def __init__(self, url: str, signer: Signer | None, pool_size: int = 10) -> None:
        self.url = url
        self._chain = None if signer is None else AuditChain(signer)
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
        self._still = self.engine.execution_options(isolation_level="REPEATABLE READ")

    @asynccontextmanager
    async def transaction(self, tenant: str, *, still: bool = False) -> AsyncIterator[AsyncConnection]:
        """Run a block in one transaction that sees `tenant` only; committed at the end, rolled back on error.

        With `still` it sees the database as it was at its first look, whatever others commit meanwhile.

        Raises:
            Unavailable: when the database went away, or has too much to do; what is wrong with us is raised as it is.
        """
        written: Mapping[str, Written] = {}
        try:
            async with (self._still if still else self.engine).begin() as tx:
                await tx.execute(_ENTER, {"role": APP_ROLE, "tenant": tenant})
                # This belongs to the connection, which is somebody else's next.
                kept = tx.info
                acts = kept[trail.PENDING] = []
                try:
                    yield tx
                finally:
                    del kept[trail.PENDING]
                written = await self._audited(tx, acts)
        except (OperationalError, InterfaceError) as error:
            busy = getattr(error.orig, "sqlstate", None) in _BUSY
            raise Unavailable("the database is busy" if busy else "the database does not answer") from error
        except PoolTimeout as error:
            raise Unavailable("the database has no connection to spare") from error
        if self._chain is not None:
            self._chain.remember(written)

    async def _audited(self, tx: AsyncConnection, acts: Sequence[Mapping[str, Any]]) -> Mapping[str, Written]:
        if not acts:
            return {}
        assert self._chain is not None, "whoever acts needs a signer"  # noqa: S101
        return await self._chain.append(tx, acts)

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
