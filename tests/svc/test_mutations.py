"""Mutated envelopes: none is accepted, none makes a reader stumble.

20,000 of them by default, every kind of mutation over every kind of message; a million with HMS_THOROUGH=1. A seed
names each, so a failure says how to see it again.
"""

import sys
from collections import Counter
from random import Random

import pytest

from hms_svc.wire import Refused
from tests.conditions import THOROUGH
from tests.svc.mutations import CORPUS, MUTATIONS, Genuine

COUNT = 1_000_000 if THOROUGH else 20_000
SHARES = 8


@pytest.mark.parametrize("one", CORPUS, ids=lambda one: one.name)
def test_what_is_mutated_was_accepted(one: Genuine) -> None:
    assert one.read(one.raw) is not None


@pytest.mark.timeout(900)
@pytest.mark.parametrize("share", range(SHARES))
def test_no_mutated_message_is_accepted(share: int) -> None:
    """One share of them all: each mutation in turn on a message drawn by its seed."""
    outcomes: Counter[str] = Counter()
    for seed in range(share, COUNT, SHARES):
        rng = Random(seed)  # noqa: S311 - to be drawn again, not to be secret
        one, mutate = rng.choice(CORPUS), MUTATIONS[seed // SHARES % len(MUTATIONS)]
        outcomes[_outcome(one, mutate(rng, one), f"seed {seed}: {mutate.__name__} of {one.name}")] += 1
    sys.stdout.write(f"{sum(outcomes.values())} mutations: {dict(outcomes.most_common())}\n")
    assert outcomes["malformed"] > 0
    assert outcomes["wrong_signature"] > 0


def _outcome(one: Genuine, raw: bytes, label: str) -> str:
    """The refusal's reason. Only a trust file may be laid out anew: people read it, and what it says is the same."""
    if raw == one.raw:
        return "left as it was"
    try:
        found = one.read(raw)
    except Refused as refusal:
        return refusal.reason
    except Exception as error:  # the point of it all: nothing but a refusal
        raise AssertionError(f"{label}: {error!r}") from error
    if found is None:
        return "without effect"
    assert one.name.startswith("trust"), f"{label}: accepted"
    assert b"".join(raw.split()) == b"".join(one.raw.split()), f"{label}: accepted"
    assert found == one.read(one.raw), label
    return "a trust file laid out anew"
