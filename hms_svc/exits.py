"""The exit codes, the same for every command."""

OK = 0  # done; everything is as it should be
FAILED = 1  # it is not, or something would change
USAGE = 2  # a setting or flag is missing or wrong
IMPOSSIBLE = 3  # it could not be told (run --dry-run)
