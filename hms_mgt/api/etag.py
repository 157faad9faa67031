"""Optimistic locking as HTTP has it (RFC 9110): `ETag` names the state shown, `If-Match` the state to be replaced."""

import re
from typing import Annotated

from fastapi import Header

_TAG = re.compile(r'(W/)?"([!#-~]*)"')
IfMatch = Annotated[
    str | None,
    Header(
        max_length=1024,
        pattern="^[ -~]*$",
        description="Change it only if its ETag still is this one, or one of these",
    ),
]
HEADER = {"headers": {"ETag": {"description": "Names this state, for If-Match", "schema": {"type": "string"}}}}


def etag(version: str) -> str:
    """Write a version as a strong ETag."""
    return f'"{version}"'


def expected(if_match: str | None) -> frozenset[str] | None:
    """Return the versions that an If-Match names; None where anything may be replaced.

    A weak tag names none: it does not say that nothing at all has changed.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    return frozenset(version for weak, version in _TAG.findall(if_match) if not weak)
