"""Keeps what has to leave conf.yml: a person's text that is no configuration, or that changed what a patch rules.

Byte for byte as it was left, whatever it is, in the state directory, the last three. Nothing here may fail the healing
that follows, so what cannot be kept is said and not raised.
"""

import os

from hms_svc import conf_file

NAME = "rejected-conf.yml"
KEPT = 3
MOST_BYTES = 16 * 1024 * 1024
MODE = 0o600  # the configuration may hold secrets


class Rejected:
    """The copies in one directory, the newest first: NAME, NAME.1, NAME.2."""

    def __init__(self, directory: str) -> None:
        self._newest = f"{directory}/{NAME}"

    def keep(self, path: str) -> str:
        """Keep what stands at `path`; the name of the copy, or "" when there is nothing or it cannot be kept."""
        try:
            content = conf_file.read_raw(path, MOST_BYTES)
            if not content or len(content) > MOST_BYTES:
                return ""
            return self.store(content)
        except OSError:
            return ""

    def store(self, content: bytes) -> str:
        """Keep these bytes; OSError when the disk does not take them."""
        if not self._have(content):
            self._make_room()
            conf_file.write_raw(self._newest, content, MODE)
        return self._newest

    def _have(self, content: bytes) -> bool:
        """Whether this is what was kept last: a tool that writes the same each hour must not push out the rest."""
        try:
            return conf_file.read_raw(self._newest, MOST_BYTES) == content
        except OSError:
            return False

    def _make_room(self) -> None:
        names = [self._newest, *(f"{self._newest}.{number}" for number in range(1, KEPT))]
        for place in range(KEPT - 1, 0, -1):
            newer, older = names[place - 1], names[place]
            if os.path.exists(newer):  # noqa: PTH110 - pathlib costs a megabyte
                os.replace(newer, older)  # noqa: PTH105 - as above
