"""Brings a database to the newest schema with the migrations that ship beside the package."""

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations


def config(url: str) -> Config:
    """Return alembic's configuration for one database."""
    settings = Config()
    settings.set_main_option("script_location", str(Path(migrations.__file__).parent))
    # ConfigParser reads % as interpolation.
    settings.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return settings


def upgrade(url: str) -> None:
    """Migrate to the newest revision; nothing happens when it is there already."""
    command.upgrade(config(url), "head")
