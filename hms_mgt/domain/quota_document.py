"""Reads a quota as people write it: `{replicas, cpu, memory, knobs}`."""

import re
from collections.abc import Mapping
from typing import Any

from hms_mgt.domain import quantity
from hms_mgt.domain.knobs import LARGEST_NUMBER
from hms_mgt.domain.quota import Quota
from hms_mgt.errors import Invalid, Problem, pointer

MOST_REPLICAS = 2**31 - 1  # what the database's integer holds
MOST_CAPS = 200
LONGEST_PATH = 512
_STEP = r'([A-Za-z0-9_][A-Za-z0-9_-]*|"[A-Za-z0-9_][A-Za-z0-9_-]*\.[A-Za-z0-9_.-]*")'
# As `merge.dotted` writes a path: a name with a dot of its own stands in quotes.
KNOB_PATTERN = rf"^{_STEP}(\.{_STEP})*$"
_FIELDS = ("replicas", "cpu", "memory", "knobs")
_KNOWN = ", ".join(_FIELDS)


def read_quota(document: Any) -> Quota:
    """Check a quota document and return it typed; what is left out, or null, is no bound.

    Raises:
        Invalid: with one `Problem` for each rule that is broken.
    """
    if not isinstance(document, Mapping):
        raise Invalid.of([Problem("", f"a quota is a mapping with {_KNOWN}")])
    found = [Problem(pointer(key), f"unknown field; a quota has {_KNOWN}") for key in document if key not in _FIELDS]
    replicas, cpu, memory, caps = (document.get(name) for name in _FIELDS)
    if replicas is not None and not _is_whole(replicas):
        found.append(Problem("/replicas", f"must be a whole number from 0 to {MOST_REPLICAS}, or null"))
    for name, value in (("cpu", cpu), ("memory", memory)):
        if value is not None and not quantity.is_quantity(value):
            found.append(Problem(f"/{name}", "must be a quantity in quotes such as '16', '500m' or '64Gi', or null"))
    found += [] if caps is None else _problems_of_caps(caps)
    if found:
        raise Invalid.of(found)
    return Quota(replicas, cpu, memory, caps or {})


def _problems_of_caps(caps: Any) -> list[Problem]:
    if not isinstance(caps, Mapping):
        return [Problem("/knobs", "must be a mapping of knobs, by dotted path, to the most each may be set to")]
    if len(caps) > MOST_CAPS:
        return [Problem("/knobs", f"has {len(caps)} caps; at most {MOST_CAPS}")]
    found = []
    for name, cap in caps.items():
        where = pointer("knobs", name)
        if not _is_path(name):
            found.append(Problem(where, 'is not the path of a knob, such as limits.rps or labels."app.io"'))
        if not _is_amount(cap):
            found.append(Problem(where, f"must be a number from 0 to {LARGEST_NUMBER}"))
    return found


def _is_path(name: Any) -> bool:
    return isinstance(name, str) and len(name) <= LONGEST_PATH and re.fullmatch(KNOB_PATTERN, name) is not None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_REPLICAS


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LARGEST_NUMBER
