"""Makes in one text the edit that somebody made to another: in the base, what they did to a file with patches in it.

So what patches took out of the file comes back as it was, comments included. Pure, and about letters only: an edit is
one stretch, from the first letter that differs to the last, and is not carried over where we changed anything in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hms_svc.candidate import conf_document
from hms_svc.merge import merge
from hms_svc.yaml_edit import applied, cuts

if TYPE_CHECKING:
    from hms_svc.yaml_edit import Cut


def transplanted(base: str, overlay: dict[str, Any], edited: str) -> str | None:
    """The base with the edit that turned fold(base, overlay) into `edited`; None where both changed the same place."""
    document = conf_document(base)
    ours = cuts(document, merge(document.value, overlay))
    if ours is None:
        return None
    made = applied(base, ours)
    start = _in_common(made, edited)
    kept = _in_common(made[start:][::-1], edited[start:][::-1])
    length = len(made) - kept - start
    at = _place(ours, start, start + length)
    return None if at is None else base[:at] + edited[start : len(edited) - kept] + base[at + length :]


def _in_common(left: str, right: str) -> int:
    """With how many letters both begin."""
    most = min(len(left), len(right))
    return next((index for index in range(most) if left[index] != right[index]), most)


def _place(ours: list[Cut], start: int, end: int) -> int | None:
    """Where a stretch of the changed text begins in the text before; None where we changed something inside it."""
    moved = moved_before = 0
    for from_, to, new in ours:
        left = from_ + moved
        right = left + len(new)
        if left < end and start < right:
            return None
        moved += len(new) - (to - from_)
        moved_before = moved if right <= start else moved_before
    return start - moved_before
