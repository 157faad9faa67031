"""What the service is told when it starts, checked before anything listens.

A governance service with a wrong key is worse than none: everything it signs is refused far away from the
cause. So the key file is read and tried first, and the error says what to do.
"""

import stat
from pathlib import Path

from nacl.signing import SigningKey

from hms_svc import wire

SHIPPED_POLICY = Path(__file__).parent / "policies"
HOW_TO_MAKE_ONE = "make one with: (umask 077; head -c 32 /dev/urandom | base64 > {path})"


class UnusableError(Exception):
    """A setting the service must not start with; the text is for the operator."""


def read_key(path: Path) -> SigningKey:
    """The signing key in `path` (base64 of its 32-byte seed). UnusableError never repeats the content."""
    try:
        return wire.load_signing_key(path.read_text("ascii"))
    except FileNotFoundError as error:
        hint = HOW_TO_MAKE_ONE.format(path=path)
        raise UnusableError(f"the key file {path} does not exist; {hint}") from error
    except OSError as error:
        raise UnusableError(f"the key file {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UnusableError(f"the key file {path} is not the base64 of a 32-byte seed on one line") from error


def read_keys(paths: str) -> list[SigningKey]:
    """The signing keys in these files, with commas between them: every decision is signed with each."""
    keys = [read_key(path) for path in key_paths(paths)]
    if len({bytes(key) for key in keys}) < len(keys):
        raise UnusableError(f"{paths}: a key stands there twice; each signature must be by a key of its own")
    return keys


def key_paths(paths: str) -> list[Path]:
    """The files that HMS_GOV_KEY names."""
    return [Path(path.strip()) for path in paths.split(",")]


def exposed(path: Path) -> str | None:
    """Who else may read the key, in words, or None."""
    mode = path.stat().st_mode
    if not mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return f"mode {stat.S_IMODE(mode):04o}: others than the owner may read the signing key; chmod 600 {path}"


def read_policy_folder(path: Path) -> Path:
    """`path` if it is a folder. A broken policy in it may still start: it denies and says why."""
    if not path.is_dir():
        raise UnusableError(f"the policy folder {path} is not a directory")
    return path
