"""Runs migrations: one at a time across replicas, and never long in the way of live traffic."""

from alembic import context
from sqlalchemy import create_engine, text

from hms_mgt.store.database import sqlalchemy_url
from hms_mgt.store.tables import metadata

# An arbitrary constant that all replicas agree on: whoever holds it migrates, the others wait.
_ADVISORY_KEY = 0x484D53


def run() -> None:
    """Migrate the database named by alembic's `sqlalchemy.url`."""
    url = context.config.get_main_option("sqlalchemy.url")
    assert url is not None, "sqlalchemy.url is set by the caller"  # noqa: S101 - a wiring mistake, not an input
    engine = create_engine(sqlalchemy_url(url))
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _ADVISORY_KEY})
        # Only from here on: waiting for another replica's migration may take as long as that takes.
        connection.execute(text("SET lock_timeout = '5s'"))
        connection.execute(text("SET statement_timeout = '60s'"))
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, compare_server_default=False)
        with context.begin_transaction():
            context.run_migrations()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _ADVISORY_KEY})
        connection.commit()
    engine.dispose()


run()
