"""What GOV, the quota and the orchestrators have to say about a queued patch."""

from collections.abc import Mapping
from typing import Any

import pytest

from hms_mgt.ports import Verdict
from hms_mgt.usecases.register import NewDeployment, register_deployment
from tests.mgt.conftest import CONF, Play, World
from tests.mgt.steps import NOW, review, step


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


def test_what_gov_obliges_is_not_passed_over(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.obligations = [{"approvals": 2}]
        patch_id = await world.submit()
        await review(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], "approvals" in shown["status_reason"]) == ("REJECTED", True)
        assert world.sql("SELECT count(*) FROM outbox") == [(0,)]

    play(scene)


def test_a_decision_that_ends_before_its_window_is_not_acted_on(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.expires = world.clock.now().timestamp() + 60
        fits = await world.submit(window={"start": "now", "duration": "60s"})
        longer, endless = await world.submit(), await world.submit(window={"start": "now"})
        await review(world)
        assert (await world.shown(fits))["status"] == "ROLLING_OUT"
        for patch_id in (longer, endless):
            assert "before the window does" in (await world.shown(patch_id))["status_reason"]

    play(scene)


def test_the_quota_holds_at_every_moment_of_the_window(play: Play) -> None:
    async def scene(world: World) -> None:
        await register_deployment(world.db, NewDeployment("IACB", "SEARCH_API", "2.1.0", CONF, "local"), NOW)

        async def ask(replicas: int, start: int, end: int, **more: Any) -> str:
            window = {"start": f"2026-11-24T{start:02}:00Z", "end": f"2026-11-24T{end:02}:00Z"}
            patch_id = await world.submit(changes={"replicas": replicas}, window=window, **more)
            await review(world)
            return str((await world.shown(patch_id))["status"])

        # Of 12, each of the two services has 3 without a patch.
        assert await ask(9, 10, 12) == "SCHEDULED"
        assert await ask(4, 11, 13, service="SEARCH_API") == "REJECTED", "9 + 4 at 11:00"
        assert await ask(4, 12, 13, service="SEARCH_API") == "SCHEDULED", "the first ends as this begins"
        assert await ask(1, 14, 15, priority=5) == "SCHEDULED"
        assert await ask(10, 14, 16) == "REJECTED", "hidden until 15:00, then 10 + 3"
        assert await ask(10, 14, 15) == "SCHEDULED", "hidden for all of its window"

    play(scene)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replicas": 13}, "over the quota of 12"),
        ({"cpu": "500m"}, "no orchestrator carries out cpu"),
    ],
)
def test_what_cannot_be_carried_out_is_rejected_with_the_reason(
    play: Play, changes: dict[str, Any], words: str
) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(changes=changes)
        await review(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REJECTED"
        assert words in shown["status_reason"]

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
