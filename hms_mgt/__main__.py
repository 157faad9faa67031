"""`python -m hms_mgt` is `hms-mgt`."""

from hms_mgt.cli import main

main()
