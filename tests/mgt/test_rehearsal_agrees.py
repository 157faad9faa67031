"""A dry run and the submission right after it agree, and what it shows is what sidecars fold: for random patches."""

from collections import Counter
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hms_mgt.domain import plan, preview
from hms_mgt.domain.patch import Status
from hms_svc import layers
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.planned import asked, deployed, standing, window
from tests.mgt.steps import review, step
from tests.svc.makers import in_force

VERSIONS = ("2.0.0", "2.1.0", "2.1.0-cdc", "3.0.0")
selectors = st.sampled_from(["*", ">=2.1.0", "<3", "^2", "2.0.0"])
changes = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.one_of(st.integers(0, 3), st.none(), st.dictionaries(st.sampled_from("xy"), st.integers(0, 2), min_size=1)),
    min_size=1,
)
windows = st.builds(
    lambda start, length: window(start, None if length is None else start + length),
    st.integers(0, 6),
    st.one_of(st.none(), st.integers(1, 6)),
)


@st.composite
def planned(draw: st.DrawFn) -> plan.Known:
    """Draw a patch that is in force, or that nothing holds."""
    number = draw(st.integers(1, 6))
    spec = asked(draw(changes), draw(windows), draw(selectors), priority=draw(st.integers(0, 1)))
    status = draw(st.sampled_from([Status.APPLIED, Status.SCHEDULED]))
    return plan.Known(standing(number, spec, number)._replace(status=status), status, spec.window.start)


@given(
    known=st.lists(planned(), max_size=5, unique_by=lambda one: one.patch.id),
    changed=changes,
    when=windows,
    selector=selectors,
    replaced=st.sets(st.integers(1, 6), max_size=2),
    base=changes,
)
def test_what_is_shown_is_what_sidecars_fold(  # noqa: PLR0913, PLR0917 - all that is random
    known: list[plan.Known], changed: Any, when: Any, selector: str, replaced: set[int], base: Any
) -> None:
    spec = asked(changed, when, selector, supersedes=tuple(replaced))
    there = [deployed(version=version, **base) for version in VERSIONS]
    found = {one.version: one for one in preview.effects(spec, VERSIONS, there, known, when.start)}
    moment = when.start.timestamp()
    before = [plan.as_carried(one.patch) for one in known]
    # The new patch is approved last; what it supersedes has left the stream.
    new = plan.as_carried(standing(7, spec, 7))
    after = [patch for patch in before if patch.id not in replaced] + [new]
    for version in VERSIONS:
        was, comes = (layers.fold(base, in_force(held, version, "i", moment)) for held in (before, after))
        shown = found.get(version)
        if shown is None:
            assert was == comes
        else:
            assert (shown.before, shown.after) == (was, comes)
            assert bool(shown.changes) == (was != comes)


def document(dice: Random, world: World) -> dict[str, Any]:
    start = world.clock.now() + timedelta(minutes=dice.randint(-3, 9))
    window = {"start": f"{start:%Y-%m-%dT%H:%M:%SZ}"}
    if dice.random() < 0.9:
        window["duration"] = f"{dice.randint(1, 9)}m"
    knobs = (
        {"rate_limit_rps": 9},
        {"replicas": 2},
        {"replicas": 7},
        {"replicas": 13},
        {"a.b": 1},
        {"a": 2},
        {"cpu": "1"},
    )
    [[newest]] = world.sql("SELECT coalesce(max(id), 1) FROM patch")
    return {
        **PATCH,
        "changes": dice.choice(knobs),
        "version_selector": dice.choice(("*", ">=2.1.0", "<2.1")),
        "priority": dice.choice((0, 0, 1)),
        "break_glass": dice.random() < 0.2,
        "supersedes": dice.sample(range(1, newest + 2), 1) if dice.random() < 0.3 else [],
        "window": window,
    }


async def go_on(world: World, dice: Random) -> None:
    """Let something happen in between."""
    world.clock.forward(seconds=dice.choice((0, 30, 120)))
    world.governance.denials = dice.choice(([], [], ["not today"]))
    world.governance.obligations = dice.choice(([], [], [{"approvals": 1}], [{"page": "ann"}]))
    if dice.random() < 0.2:
        window = {"start": "now", "duration": "3m", "except_roles": dice.choice(([], ["release_manager"]))}
        made = await world.call(
            "POST", "/api/freeze", "approver@IACB", json={"tenant": "IACB", "reason": "r", **window}
        )
        assert made.status_code == 201
    await step(world)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_dry_run_foretells_the_answer_and_the_review(play: Play, seed: int) -> None:
    async def scene(world: World) -> None:
        dice, answers = Random(seed), Counter[str]()  # noqa: S311 - to be repeatable
        for _ in range(60):
            await go_on(world, dice)
            body = document(dice, world)
            foretold = (await world.call("POST", "/api/patch?dry_run=true", json=body)).json()
            answer = await world.call("POST", "/api/patch", json=body)
            answers[answer.json().get("code", "accepted")] += 1
            if "accepted" not in foretold:
                assert (foretold["detail"], answer.status_code) == (answer.json()["detail"], 422)
                continue
            assert foretold["accepted"] is (answer.status_code == 202), (foretold, answer.text)
            if answer.status_code != 202:
                assert foretold["refusals"][0]["code"] == answer.json()["code"]
                assert foretold["refusals"][0]["detail"] == answer.json()["detail"]
                continue
            await review(world)
            shown = await world.shown(answer.json()["patch_id"])
            assert foretold["rejection"] == (shown["status_reason"] if shown["status"] == "REJECTED" else None)
            assert shown["freeze_exemption"] in {foretold["freeze_exemption"], None} or shown["status"] == "ROLLING_OUT"
        assert answers.keys() == {"accepted", "invalid", "conflict", "patch_conflict", "quota_exceeded", "frozen"}

    play(scene)
