"""What the commands have in common: the exit codes, and the one output flag there is, `-o json`."""

import select
from collections.abc import Callable, Sequence
from typing import TypeVar

from hms_svc.address import SettingsError
from hms_svc.errand import Bell, Errand

T = TypeVar("T")

OK = 0  # done; everything is as it should be
FAILED = 1  # it is not, or something would change
USAGE = 2  # a setting or flag is missing or wrong
IMPOSSIBLE = 3  # it could not be told (run --dry-run)


def within(seconds: float, work: Callable[[], T]) -> T:
    """The value, for a command that has nothing else to do; TimeoutError when it takes longer.

    Only a look-up of a name does: everything else has a limit of its own.
    """
    bell = Bell()
    errand = Errand(bell, work)
    poll = select.poll()
    poll.register(bell.reader, select.POLLIN)
    poll.poll(seconds * 1000)
    if not errand.done:
        raise TimeoutError(f"no answer within {seconds:g} s: does a DNS server answer, and know the name?")
    return errand.take()


def output_form(words: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether `-o json` is among the words, and the others."""
    rest = list(words)
    for index, word in enumerate(rest):
        if word in ("-o", "--output", "-o=json", "--output=json", "-ojson"):
            short = "json" in word
            if not short and rest[index + 1 : index + 2] != ["json"]:
                raise SettingsError("-o: `json` is the only other form there is")
            del rest[index : index + (1 if short else 2)]
            return True, rest
    return False, rest
