"""Fixed keys and ready-made patches, decisions and documents for the tests beside this file."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import strategies as st
from nacl.signing import SigningKey

from hms_svc.layers import admitted, is_open
from hms_svc.messages import Patch
from hms_svc.trust import Trust
from hms_svc.wire import ADMIT_ALL, DECISION, Pins, seal

GOV = SigningKey(b"g" * 32)
MGT = SigningKey(b"m" * 32)
STRANGER = SigningKey(b"s" * 32)
TRUST = Trust(Pins((GOV.verify_key,)), Pins((MGT.verify_key,)))
TENANT = "IACB"
SERVICE = "ARTIST_REGISTRY_API"

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(texts, values, max_size=5)
"""Any configuration: whatever JSON can say."""

names = st.sampled_from(["a", "b", "c", "d"])
collisions = st.recursive(
    st.none() | st.integers(0, 3) | st.just([1, None]),
    lambda inner: st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
small = st.dictionaries(names, collisions, max_size=4)
"""Few names and few values, so that two of these meet at the same keys."""


def calls(work: Callable[[], Any]) -> int:
    """How many calls a piece of work takes, of Python and of C: its cost, whatever else the machine does."""
    count = 0

    def note(_frame: Any, event: str, _what: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def decision(**over: Any) -> dict[str, Any]:
    """The payload of an allowed decision."""
    return {
        "v": 1,
        "decision_id": "d-784",
        "verdict": "allow",
        "patch_id": 784,
        "tenant": TENANT,
        "service": SERVICE,
        "version_selector": ">=2.1.0",
        "changes": {"rate_limit_rps": 200, "replicas": 6},
        "window": {"start": "2026-11-20T00:00:00Z", "end": "2026-12-05T00:00:00Z"},
        "priority": 0,
        "reasons": ["within quota"],
        "obligations": [],
        "policy_revision": "sha256:abc",
        "issued": "2026-11-19T12:00:00Z",
        "expires": "2026-12-05T00:00:00Z",
    } | over


def signed(**over: Any) -> dict[str, Any]:
    """GOV's envelope around such a decision."""
    return seal(DECISION, decision(**over), GOV)


def patch(number: int = 784, **over: Any) -> Patch:
    """A patch as an agent holds it, for all versions and instances and without an end."""
    return Patch(
        id=number,
        tenant=TENANT,
        service=SERVICE,
        selector="*",
        changes={"rate_limit_rps": 200},
        start=0.0,
        end=None,
        expires=None,
        priority=0,
        order=number,
        admit_below=ADMIT_ALL,
        envelope={},
    )._replace(**over)


def in_force(patches: Iterable[Patch], version: str, instance: str, at: float) -> list[Patch]:
    """The patches that shape this instance at epoch second `at`, in fold order: the last one wins."""
    return [patch for patch in admitted(patches, version, instance) if is_open(patch, at)]
