"""The `hms` command for people and CI. It speaks HTTP to HMS-MGT and nothing else."""

from importlib import metadata


def version() -> str:
    """The installed version, or a word that says it runs from a source tree."""
    try:
        return metadata.version("hms")
    except metadata.PackageNotFoundError:
        return "source"
