"""Cursors of listings: where the next page begins, in a form that says it is nobody's to make up."""

import base64
import binascii
from urllib.parse import urlencode

from fastapi import Request, Response

from hms_mgt.errors import Invalid, Problem

BIGGEST_ID = 2**63 - 1


def write(number: int) -> str:
    """Return the cursor behind the row with this number."""
    return base64.urlsafe_b64encode(str(number).encode()).decode().rstrip("=")


def read(cursor: str | None) -> int | None:
    """Return the number a cursor stands for.

    Raises:
        Invalid: it is not one that a listing gave out.
    """
    if cursor is None:
        return None
    try:
        number = int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii"))
    except (ValueError, binascii.Error):
        number = 0
    if not 1 <= number <= BIGGEST_ID:
        raise Invalid.of([Problem("/query/cursor", "this is not a cursor that a listing gave out")])
    return number


def link(request: Request, response: Response, following: str | None) -> None:
    """Name the next page in a `Link` header, where there is one."""
    if following is not None:
        query = urlencode({**request.query_params, "cursor": following})
        response.headers["Link"] = f'<{request.url.path}?{query}>; rel="next"'
