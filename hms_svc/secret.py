"""Secrets that lie in files: read again whenever they are needed, for mounted ones are replaced while we run.

Errors name the setting and the path, and never show what was read.
"""

from hms_svc.address import SettingsError


def from_file(name: str, path: str) -> str:
    """The secret in the file that the setting `name` points to, without the line's end."""
    from hms_svc.conf_file import read_text  # noqa: PLC0415 - only for those who keep secrets in files

    try:
        text = read_text(path)
    except OSError as error:
        raise SettingsError(f"{name}={path}: {error.strerror}; a file that this user may read is expected") from None
    except ValueError:
        raise SettingsError(f"{name}={path}: a small text file is expected") from None
    if text is None:
        raise SettingsError(f"{name}={path}: no such file")
    secret = text.rstrip("\r\n")
    if not secret:
        raise SettingsError(f"{name}={path}: the file is empty")
    return secret
