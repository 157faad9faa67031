"""The quota's rules alone: the sweep against a look at every minute, what is refused, and in which words."""

import itertools
from collections.abc import Iterator
from datetime import datetime
from functools import reduce
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_mgt.domain import quantity
from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.patch import Patch, PatchSpec
from hms_mgt.domain.profile import Totals, profile
from hms_mgt.domain.quota import Quota, beyond, exceeded, over_caps, tightest, usage
from hms_mgt.domain.quota_document import read_quota
from hms_mgt.errors import Invalid, Problem
from hms_svc import merge
from hms_svc.selector import parse_selector
from tests.mgt.planned import asked, at, deployed, standing, window

LATEST = 24
DEPLOYED = [
    deployed("API", "2.0.0", replicas=3, cpu="500m"),
    deployed("API", "2.1.0", replicas=2, memory="1.5Gi"),
    deployed("SEARCH", "1.0.0", cpu="1"),
]
windows = st.builds(
    lambda start, length: window(start, None if length is None else start + length),
    st.integers(0, 12),
    st.none() | st.integers(1, 8),
)
changes = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(1, 9),
        "cpu": st.sampled_from(["100m", "2", "1.5"]),
        "memory": st.sampled_from(["64Mi", "1G", "2Gi"]),
        "rate_limit_rps": st.just(1),
    },
).filter(bool)
specs = st.builds(
    asked,
    changes,
    windows,
    st.sampled_from(["*", ">=2.1", "2.0.0"]),
    service=st.sampled_from(["API", "API", "SEARCH"]),
    priority=st.sampled_from([0, 0, 0, 5]),
    supersedes=st.lists(st.integers(1, 5), max_size=2).map(tuple),
)
quotas = st.builds(
    Quota, st.none() | st.integers(0, 25), st.sampled_from([None, "3", "9500m"]), st.sampled_from([None, "6Gi", "9G"])
)


@st.composite
def histories(draw: st.DrawFn) -> list[Patch]:
    found = draw(st.lists(specs, max_size=5))
    orders = draw(st.permutations([*range(1, len(found) + 1)]))
    approved = draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    together = zip(found, orders, approved, strict=True)
    return [standing(number, spec, order if yes else None) for number, (spec, order, yes) in enumerate(together, 1)]


def total(patches: list[Patch], new: PatchSpec | None, minute: datetime) -> Totals:
    """Fold every deployment anew, as the sidecars do, and add up."""
    replicas = cpu = memory = 0
    for one in DEPLOYED:
        document = reduce(merge.merge, (dict(spec.changes) for spec in in_order(one, patches, new, minute)), one.base)
        count = document.get("replicas", 1)
        replicas += count
        cpu += count * quantity.parse(document.get("cpu", "0"))
        memory += count * quantity.parse(document.get("memory", "0"))
    return Totals(replicas, cpu, memory)


def in_order(one: Deployment, patches: list[Patch], new: PatchSpec | None, minute: datetime) -> list[PatchSpec]:
    placed: list[tuple[Any, PatchSpec]] = []
    for patch in patches:
        superseding = [
            other.spec for other in patches if other.approval_order and not (new and other.id in new.supersedes)
        ]
        superseding += [new] if new else []
        if not any(patch.id in other.supersedes and other.window.started(minute) for other in superseding):
            # Approved ones first, then by id.
            placed.append(((patch.spec.priority, patch.approval_order or 100 + patch.id), patch.spec))
    if new is not None:
        placed.append(((new.priority, 1000), new))
    return [
        spec
        for _, spec in sorted(placed, key=lambda pair: pair[0])
        if spec.window.started(minute) and not spec.window.over(minute)
        if spec.service == one.service and parse_selector(spec.version_selector).matches(one.version)
    ]


def minutes(spec: PatchSpec) -> Iterator[datetime]:
    return (
        at(minute) for minute in range(LATEST) if spec.window.started(at(minute)) and not spec.window.over(at(minute))
    )


@given(histories(), specs, st.booleans())
def test_the_sweep_says_what_a_fold_at_every_minute_says(patches: list[Patch], spec: PatchSpec, with_it: bool) -> None:  # noqa: FBT001
    new = spec if with_it else None
    found = profile(DEPLOYED, patches, spec.window, new)
    for minute in minutes(spec):
        assert next(totals for instant, totals in reversed(found) if instant <= minute) == total(patches, new, minute)
    assert found[0][0] == spec.window.start


@given(quotas, histories(), specs)
def test_a_patch_is_refused_at_the_first_minute_that_it_makes_too_much_or_worse(
    bounds: Quota, patches: list[Patch], spec: PatchSpec
) -> None:
    limits = {
        "replicas": bounds.replicas,
        "cpu": bounds.cpu and quantity.parse(bounds.cpu),
        "memory": bounds.memory and quantity.parse(bounds.memory),
    }
    refused = [
        (name, minute)
        for minute in minutes(spec)
        for name, limit in limits.items()
        if limit is not None
        and getattr(total(patches, spec, minute), name) > limit
        and getattr(total(patches, spec, minute), name) > getattr(total(patches, None, minute), name)
    ]
    found = exceeded(bounds, spec, DEPLOYED, patches)
    # What it supersedes may have asked for less than there is without it.
    concerned = set(spec.changes) & {"replicas", "cpu", "memory"} or spec.supersedes
    assert (found and found[:2]) == (refused[0] if refused and concerned else None)


@given(histories(), windows)
def test_usage_tells_changes_only(patches: list[Patch], when: Any) -> None:
    found = usage(DEPLOYED, patches, when)
    amounts = [totals for _, totals in found]
    assert all(one != other for one, other in itertools.pairwise(amounts))
    assert amounts[-1] == profile(DEPLOYED, patches, when)[-1][1]


def test_two_patches_that_fit_alone_and_not_together_are_refused_with_the_instant_and_the_amount() -> None:
    here = [deployed(replicas=3), deployed("SEARCH", replicas=3)]
    first = standing(1, asked({"replicas": 8}, window(0, 10)))
    second = asked({"replicas": 6}, window(5, 15), service="SEARCH")
    bounds = Quota(replicas=12)
    assert exceeded(bounds, second, here, []) is None
    found = exceeded(bounds, second, here, [first])
    assert found is not None
    assert (
        found.words("IACB")
        == "replicas would come to 14 at 2026-11-24T00:05:00Z, 2 over the quota of 12 for tenant IACB"
    )
    assert found.facts() == {
        "resource": "replicas",
        "at": "2026-11-24T00:05:00Z",
        "wanted": "14",
        "bound": "12",
        "over": "2",
        "whose": "quota",
    }
    assert exceeded(bounds, second._replace(window=window(10, 15)), here, [first]) is None


def test_processors_and_memory_count_once_for_each_replica() -> None:
    here = [deployed(replicas=3, cpu="500m", memory="1Gi")]
    spec = asked({"replicas": 5}, window(0, 10))
    assert exceeded(Quota(cpu="2500m", memory="5Gi"), spec, here, []) is None
    found = exceeded(Quota(cpu="2", memory="5Gi"), spec, here, [])
    assert found
    assert found[2:] == ("2500m", "2", "500m", "quota")
    found = exceeded(tightest(Quota(memory="9Gi"), Quota(memory="4.5Gi")), spec, here, [])
    assert found
    assert found[2:] == ("5Gi", "4.5Gi", "512Mi", "platform cap")
    assert "512Mi over the platform cap of 4.5Gi for tenant IACB" in found.words("IACB")


def test_who_asks_for_less_passes_where_too_much_is_used() -> None:
    here = [deployed(replicas=9), deployed("SEARCH", replicas=9)]
    bounds = Quota(replicas=12)
    assert exceeded(bounds, asked({"replicas": 8}, window(0, 5)), here, []) is None
    assert exceeded(bounds, asked({"replicas": 9}, window(0, 5)), here, []) is None
    assert exceeded(bounds, asked({"replicas": 10}, window(0, 5)), here, []) is not None
    assert exceeded(bounds, asked({"rate_limit_rps": 10}, window(0, 5)), here, []) is None


def test_what_waits_for_approval_comes_after_what_has_it_and_the_new_patch_last() -> None:
    here = [deployed(replicas=1)]
    waiting, approved = (asked({"replicas": number}, window(0, 10)) for number in (4, 6))
    patches = [standing(1, waiting), standing(2, approved, 7)]
    assert profile(here, patches, window(0, 10)) == [(at(0), Totals(4))]
    assert profile(here, patches, window(0, 10), asked({"replicas": 5}, window(0, 10))) == [(at(0), Totals(5))]


def test_what_the_new_patch_supersedes_makes_room_and_what_only_waits_for_approval_does_not() -> None:
    here = [deployed(replicas=3), deployed("SEARCH", replicas=3)]
    old = standing(1, asked({"replicas": 9}, window(0, None)), 1)
    new = asked({"replicas": 8}, window(0, None), service="SEARCH")
    assert exceeded(Quota(replicas=12), new, here, [old]) is not None
    assert exceeded(Quota(replicas=12), new._replace(supersedes=(1,)), here, [old]) is None
    follower = asked({"rate_limit_rps": 5}, window(0, None), supersedes=(1,))
    assert exceeded(Quota(replicas=12), new, here, [old, standing(2, follower)]) is not None
    assert exceeded(Quota(replicas=12), new, here, [old, standing(2, follower, 2)]) is None
    # What is superseded itself ends nothing.
    last = new._replace(supersedes=(2,))
    assert exceeded(Quota(replicas=12), last, here, [old, standing(2, follower, 2)]) is not None


def test_the_tightest_bound_counts_and_says_whose_it_is() -> None:
    mine = Quota(12, "16", None, {"rate_limit_rps": 500, "limits.rps": 5})
    above = Quota(100, "15500m", "1Ti", {"rate_limit_rps": 400, "limits.rps": 5, "other": 1.5})
    found = tightest(mine, above)
    assert found[:4] == (12, "15500m", "1Ti", {"rate_limit_rps": 400, "limits.rps": 5, "other": 1.5})
    assert found.platform == {"cpu", "memory", "knobs.rate_limit_rps", "knobs.other"}
    assert tightest(mine, Quota()) == mine
    assert beyond(mine, above) == [
        Problem("/cpu", "Exceeds the platform cap: at most 15500m"),
        Problem("/knobs/rate_limit_rps", "Exceeds the platform cap: at most 400"),
    ]


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"rate_limit_rps": 501}, ["/changes/rate_limit_rps"]),
        ({"rate_limit_rps": 500}, []),
        ({"rate_limit_rps": None}, []),
        ({"rate_limit_rps": "9999"}, ["/changes/rate_limit_rps"]),
        ({"rate_limit_rps": [9999]}, ["/changes/rate_limit_rps"]),
        ({"rate_limit_rps": True}, ["/changes/rate_limit_rps"]),
        ({"limits": {"rps": 6, "burst": 99}}, ["/changes/limits/rps"]),
        ({"limits.rps": 6}, ["/changes/limits/rps"]),
        ({"labels": {"app.io/x": 3}}, ["/changes/labels/app.io~1x"]),
        ({"cpu": "2500m"}, ["/changes/cpu"]),
        ({"cpu": "2"}, []),
        ({"replicas": 7, "limits": {"rps": 6}}, ["/changes/replicas", "/changes/limits/rps"]),
    ],
)
def test_a_knob_beyond_its_cap_is_pointed_at(changes: dict[str, Any], where: list[str]) -> None:
    caps = {"rate_limit_rps": 500, "limits.rps": 5.5, 'labels."app.io/x"': 2, "cpu": 2, "replicas": 6}
    assert [one.pointer for one in over_caps(Quota(knobs=caps), changes)] == where


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["16", "64Gi", 12, 0.5])
documents = st.dictionaries(
    st.sampled_from(["replicas", "cpu", "memory", "knobs", "other"]) | st.text(),
    scalars | st.dictionaries(st.sampled_from(["a", "a.b", 'a."b.c"']) | st.text(), scalars) | st.lists(scalars),
)


@given(documents | scalars | st.lists(scalars))
def test_any_document_is_a_quota_or_refused_with_pointers_into_it(document: Any) -> None:
    try:
        found = read_quota(document)
    except Invalid as error:
        pointers = [problem.pointer for problem in error.problems]
    else:
        pointers = [""]
        given_ = {name: value for name, value in document.items() if value is not None}
        assert {name: value for name, value in found.bounds().items() if value not in (None, {})} == {
            name: value for name, value in given_.items() if value != {}
        }
        assert tightest(found, found) == found
        assert read_quota(found.bounds()).version == found.version
    assert pointers
    assert all(not one or one[0] == "/" for one in pointers)


def test_a_cap_says_whose_it_is() -> None:
    bounds = tightest(Quota(knobs={"a": 5}), Quota(knobs={"b": 6}))
    details = [one.detail for one in over_caps(bounds, {"a": 9, "b": 9})]
    assert details == ["Exceeds the tenant's cap: a may be at most 5", "Exceeds the platform cap: b may be at most 6"]


@given(
    st.integers(0, 10**12 - 1),
    st.integers(0, 999),
    st.sampled_from(["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]),
)
def test_a_quantity_is_written_as_what_it_was_read_as(whole: int, thousandths: int, unit: str) -> None:
    amount = quantity.parse(f"{whole}.{thousandths:03}{unit}")
    for text in (quantity.cpu(amount), quantity.memory(amount)):
        # Only what one can write is read back: a unit may make it a longer number than that.
        assert not quantity.is_quantity(text) or quantity.parse(text) == amount


@pytest.mark.parametrize(
    ("text", "cpu", "memory"),
    [
        ("14", "14", "14"),
        ("14500m", "14500m", "14500m"),
        ("1000", "1000", "1k"),
        ("1536Mi", "1610612736", "1536Mi"),
        ("20Gi", "21474836480", "20Gi"),
        ("2G", "2000000000", "2G"),
        ("0.5m", "0.500m", "0.500m"),
        ("0", "0", "0"),
    ],
)
def test_amounts_are_written_as_people_do(text: str, cpu: str, memory: str) -> None:
    amount = quantity.parse(text)
    assert (quantity.cpu(amount), quantity.memory(amount)) == (cpu, memory)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "1.", ".5", "1KiB", "1 Gi", "\u0661", "1.0001", "1\n", 5, None])
def test_what_is_no_quantity(text: Any) -> None:
    assert not quantity.is_quantity(text)
    if isinstance(text, str):
        with pytest.raises(ValueError, match="is not a quantity"):
            quantity.parse(text)
