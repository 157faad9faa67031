"""What can go wrong between the command and HMS-MGT, each with the exit code it ends in."""

from hms_cli.outcome import Code


class ClientError(Exception):
    """Something the user is told in `lines`; `code` is the exit code."""

    def __init__(self, code: Code, *lines: str) -> None:
        super().__init__(*lines)
        self.code = code
        self.lines = lines


class SilentError(ClientError):
    """The request went out and no answer came. Whether it was carried out is not known, so it is not repeated."""


class LostError(ClientError):
    """No usable answer this time; another try may get one.

    `after` is how long the server wants us to wait, in seconds; `arrived` says whether the request may have been
    carried out all the same.
    """

    def __init__(self, code: Code, *lines: str, after: float = 0.0, arrived: bool = True) -> None:
        super().__init__(code, *lines)
        self.after = after
        self.arrived = arrived


class BusyError(LostError):
    """We ask too much (429): nothing was carried out, and whoever comes back before `after` is refused again."""
