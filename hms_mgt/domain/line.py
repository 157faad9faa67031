"""The words a person gives with an act, as they go into the record: one line of bounded length."""

from typing import Any

from hms_mgt.errors import Problem

LONGEST = 500


def line_problems(value: Any, where: str, *, required: bool = False) -> list[Problem]:
    """Check one line of text. `where` is the pointer to it."""
    if not isinstance(value, str) or len(value) > LONGEST or not (value == "" or value.isprintable()):
        return [Problem(where, f"must be one line of text, at most {LONGEST} characters")]
    return [Problem(where, "is required: say why, in a line")] if required and not value.strip() else []
