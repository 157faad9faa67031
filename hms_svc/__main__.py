"""`hms-svc`: run the agent, look at it, or check that everything it needs is in place.

Reads the command and hands over. Flags are read by hand, and whatever only one command needs is loaded by it: argparse
and the help would otherwise sit in every pod.
"""

import os
import sys
from collections.abc import Sequence

import hms_svc.light_typing  # noqa: F401 - before anything that would load typing
from hms_svc.address import SettingsError
from hms_svc.cli import FAILED, OK, USAGE
from hms_svc.settings import SWITCHES, read

COMMANDS = ("run", "check", "status")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the result is the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        code = _help(words) if _wants_help(words) else _command(words[0], words[1:])
        sys.stdout.flush()
    except SettingsError as error:
        sys.stderr.write(f"hms-svc: {error}\n")
        return USAGE
    except BrokenPipeError:  # whoever read our words has gone; say no more, not even at the interpreter's end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return FAILED
    return code


def _wants_help(words: Sequence[str]) -> bool:
    return not words or words[0] == "help" or "-h" in words or "--help" in words


def _help(words: Sequence[str]) -> int:
    from hms_svc.usage import usage  # noqa: PLC0415 - the running agent needs none of it

    named = [word for word in words if word in COMMANDS]
    sys.stdout.write(usage(named[0] if named else ""))
    return OK if words else USAGE


def _command(command: str, words: list[str]) -> int:
    if command == "run":
        return _run(words)
    if command == "check":
        from hms_svc.check import check  # noqa: PLC0415 - as above

        return check(os.environ, words)
    if command == "status":
        from hms_svc.status import status  # noqa: PLC0415 - as above

        return status(os.environ, words)
    raise SettingsError(f"{command}: there is no such command; {_meant(command)}")


def _meant(command: str) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only for those who mistyped

    alike = get_close_matches(command, COMMANDS, 1, 0.6)
    return f"did you mean {alike[0]}?" if alike else "`hms-svc --help` shows them"


def _run(words: list[str]) -> int:
    flags = [word for word in words if word not in SWITCHES]
    settings = read(os.environ, flags)
    if "--dry-run" in words:
        from hms_svc.dry_run import dry_run  # noqa: PLC0415 - as above

        return dry_run(settings)

    from hms_svc.startup import start  # noqa: PLC0415 - `--help` needs none of it

    agent = start(settings)
    if "--once" in words:
        from hms_svc.status_text import outcome  # noqa: PLC0415 - as above

        done = agent.run_once()
        sys.stdout.write(f"hms-svc: {outcome(agent.view(True), done=done)}\n")
        return OK if done else FAILED
    agent.run()
    return OK


if __name__ == "__main__":
    sys.exit(main())
