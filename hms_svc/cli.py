"""What the commands have in common: the exit codes, and the one output flag there is, `-o json`."""

from collections.abc import Sequence

from hms_svc.address import SettingsError

OK = 0  # done; everything is as it should be
FAILED = 1  # it is not, or something would change
USAGE = 2  # a setting or flag is missing or wrong
IMPOSSIBLE = 3  # it could not be told (run --dry-run)


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
