"""Ids of tenants and services: what may be a Redis name, a path segment and a database key at once."""

import re
from typing import Any

# Never a glob, a colon or a separator: a tenant named `t*` would match every tenant in a broker's ACL.
PATTERN = "^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
_ID = re.compile(PATTERN)
RULE = "must be 1 to 63 letters, digits, '-' or '_', beginning with a letter or digit"


def is_id(value: Any) -> bool:
    """Tell whether `value` may name a tenant or a service."""
    return isinstance(value, str) and _ID.fullmatch(value) is not None
