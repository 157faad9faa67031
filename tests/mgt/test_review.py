"""What GOV, the quota and the orchestrators have to say about a queued patch."""

from collections.abc import Mapping
from typing import Any

from hms_mgt.ports import Verdict
from tests.mgt.conftest import Play, World
from tests.mgt.steps import review, step


def test_gov_away_keeps_the_patch_queued_and_says_why(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        world.governance.away = True
        for _ in range(5):
            await review(world)
            world.clock.forward(seconds=6)
        shown = await world.shown(patch_id)
        assert shown["status"] == "QUEUED"
        assert shown["status_reason"].startswith("GOV cannot be reached")
        assert world.governance.asked == 5
        assert world.sql("SELECT count(*) FROM stream") == [(0,)]
        world.governance.away = False
        await review(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_no_path_around_gov_when_the_window_passes_meanwhile(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(window={"start": "now", "duration": "5s"})
        world.governance.away = True
        await review(world)
        world.clock.forward(seconds=5)
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REJECTED"
        assert "before the patch was approved" in shown["status_reason"]

    play(scene)


def test_gov_denies_and_the_reasons_are_shown(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.denials = ["no changes on market days", "ask Olga"]
        patch_id = await world.submit()
        await review(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REJECTED"
        assert shown["decision"]["reasons"] == ["no changes on market days", "ask Olga"]
        assert "no changes on market days; ask Olga" in shown["status_reason"]
        assert world.sql("SELECT count(*) FROM outbox") == [(0,)]

    play(scene)


def test_a_decision_that_ends_before_its_window_is_not_acted_on(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.expires = world.clock.now().timestamp() + 60
        fits = await world.submit(window={"start": "now", "duration": "60s"})
        longer = await world.submit(changes={"replicas": 4})
        endless = await world.submit(changes={"burst": 4}, window={"start": "now"})
        await review(world)
        assert (await world.shown(fits))["status"] == "ROLLING_OUT"
        for patch_id in (longer, endless):
            assert "before the window does" in (await world.shown(patch_id))["status_reason"]

    play(scene)


def test_a_quota_that_shrank_since_the_submission_is_held_to(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(changes={"replicas": 12})
        answer = await world.call("PUT", "/api/tenant/IACB/quota", "approver@IACB", json={"replicas": 11})
        assert answer.status_code == 200, answer.text
        await review(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REJECTED"
        assert "1 over the quota of 11" in shown["status_reason"]

    play(scene)


def test_a_cap_that_was_set_since_the_submission_is_held_to(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        caps = {"replicas": 12, "knobs": {"rate_limit_rps": 150}}
        answer = await world.call("PUT", "/api/tenant/IACB/quota", "approver@IACB", json=caps)
        assert answer.status_code == 200, answer.text
        await review(world)
        assert "at most 150" in (await world.shown(patch_id))["status_reason"]

    play(scene)


def test_what_nobody_carries_out_is_rejected_with_the_reason(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(changes={"cpu": "500m"})
        await review(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REJECTED"
        assert "no orchestrator carries out cpu" in shown["status_reason"]

    play(scene)


def test_a_patch_cancelled_while_gov_thinks_stays_cancelled_and_nothing_fails(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        real = world.governance.decide

        async def decide(facts: Mapping[str, Any]) -> Verdict:
            assert (await world.call("POST", f"/api/patch/{patch_id}/cancel")).status_code == 202
            return await real(facts)

        world.governance.decide = decide  # type: ignore[method-assign]
        await review(world)
        assert (await world.shown(patch_id))["status"] == "CANCELLED"
        assert world.sql("SELECT count(*) FROM outbox") == [(0,)]

    play(scene)
