"""What a test may ask of the machine and of the run: programs, rights, and time for the thorough variant.

On a developer's machine a test that lacks something is skipped. CI must have everything: there it fails and says what.
"""

import os
import shutil
from typing import NoReturn

import pytest

THOROUGH = os.environ.get("HMS_THOROUGH") == "1"
IN_CI = os.environ.get("CI") == "true"


def lacks(what: str) -> NoReturn:
    """Leave this test, or this file, because the machine lacks something."""
    if IN_CI:
        pytest.fail(f"CI must have this, see .ci/run: {what}", pytrace=False)
    pytest.skip(what, allow_module_level=True)


def need(*programs: str) -> None:
    """Leave this test, or this file, unless these programs are there."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        lacks(f"not installed: {', '.join(missing)}")
