"""Instants as a query says them."""

from datetime import datetime

from hms_mgt.domain.window import WindowError, parse_instant
from hms_mgt.errors import Invalid


def of_query(name: str, text: str, now: datetime) -> datetime:
    """Read the instant that a query parameter says.

    Raises:
        Invalid: it is none; with a pointer to the parameter.
    """
    try:
        # A plus sign that nobody escaped comes as a space.
        return parse_instant(text.replace(" ", "+"), f"/query/{name}", now)
    except WindowError as error:
        raise Invalid.of([error.problem]) from None
