"""Which patches are in force for one instance at one moment, and what they add up to.

The sidecar runs these to decide what its `conf.yml` says; the control plane runs the same to preview it and
to check what an instance reports. No clock is read here: the moment is an argument.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any

from hms_svc import blake2
from hms_svc.merge import compose, digest, expand, merge
from hms_svc.selector import Version, parse_selector

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hms_svc.messages import Patch

_RANK_BYTES = 4


def rank(patch_id: int, instance: str) -> int:
    """The instance's place in the patch's cohorts, in [0, 2**32): a hash, so each patch has its own order."""
    hashed = blake2.digest(f"{patch_id}:{instance}".encode(), 16)
    return int.from_bytes(hashed[:_RANK_BYTES], "big")


def admitted(patches: Iterable[Patch], version: str, instance: str) -> list[Patch]:
    """The patches that are for this instance whenever their windows are open, in fold order.

    Raises:
        ValueError: the version, or a patch's selector, is not one.
    """
    running = Version.parse(version)
    chosen = [patch for patch in patches if _admits(patch, running, instance)]
    return fold_order(chosen)


def fold_order(patches: Iterable[Patch]) -> list[Patch]:
    """The patches in the order they are folded: priority, then approval, the last one wins."""
    return sorted(patches, key=lambda patch: (patch.priority, patch.order, patch.id))


def _admits(patch: Patch, running: Version, instance: str) -> bool:
    return parse_selector(patch.selector).admits(running) and rank(patch.id, instance) < patch.admit_below


def is_open(patch: Patch, at: float) -> bool:
    """Whether the patch holds at an epoch second: [start, end), and a decision ends it when it expires first."""
    return patch.start <= at and not is_over(patch, at)


def is_over(patch: Patch, at: float) -> bool:
    """Whether the patch's window, or the decision behind it, has ended by an epoch second."""
    return any(end is not None and end <= at for end in (patch.end, patch.expires))


def overlay(layers: Iterable[Patch]) -> dict[str, Any]:
    """All layers' changes as one composed merge patch."""
    return reduce(compose, (expand(patch.changes) for patch in layers), {})


def fold(base: dict[str, Any], layers: Iterable[Patch]) -> dict[str, Any]:
    """The effective configuration: the base under these layers."""
    folded: dict[str, Any] = merge(base, overlay(layers))
    return folded


def next_change(patches: Iterable[Patch], at: float) -> float | None:
    """The first epoch second after `at` at which a window opens or closes, when there is one."""
    edges = (edge for patch in patches for edge in (patch.start, patch.end, patch.expires))
    return min((edge for edge in edges if edge is not None and edge > at), default=None)


def effective_digest(layers: Iterable[Patch]) -> str:
    """The name of what these layers add up to, base aside: what an instance reports once it is in effect."""
    return digest(overlay(layers))
