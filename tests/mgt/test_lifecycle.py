"""The life of a patch through the real database, with a clock, a GOV and a broker in the test's hands."""

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from hms_mgt.domain import rollout
from hms_mgt.domain.patch import TERMINAL, TRANSITIONS, Patch, Status
from hms_mgt.store import patches
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases.keep_time import keep_time
from tests.mgt.conftest import Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.steps import review, scaled_to, statuses, step


def test_a_patch_goes_from_queued_to_applied_to_expired(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        patch_id = await world.submit(window={"start": "now", "duration": "60s"})
        await review(world)
        await fleet.report()
        await step(world)
        assert (await world.shown(patch_id))["status"] == "APPLIED"
        world.clock.forward(seconds=60)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "REVERTING"
        await fleet.report()
        await step(world)
        assert await statuses(world, patch_id) == [
            *("QUEUED", "APPROVED", "ROLLING_OUT", "APPLIED", "REVERTING", "EXPIRED")
        ]

    play(scene)


def test_applied_only_by_confirmed_effect_of_every_instance(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        patch_id = await world.submit()
        await review(world)
        await fleet.report("a", "b")
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "ROLLING_OUT"
        assert shown["progress"]["waiting_for"] == "c to confirm"
        # A digest that is not what the layers fold to confirms nothing.
        await fleet.report("c", digest="0" * 64)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"
        await fleet.report("c")
        await step(world)
        assert (await world.shown(patch_id))["status"] == "APPLIED"

    play(scene)


def test_no_instance_no_applied(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        await review(world)
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "ROLLING_OUT"
        assert "matches the version selector" in shown["progress"]["waiting_for"]

    play(scene)


def test_replicas_must_run_and_confirm_before_applied_and_be_gone_before_expired(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        await scaled_to(world, 3)
        patch_id = await world.submit(changes={"replicas": 5}, window={"start": "now", "duration": "60s"})
        await review(world)
        await fleet.report()
        await step(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT", "three of five run"
        await scaled_to(world, 5)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT", "five run, three confirmed"
        await fleet.report("d", "e")
        await step(world)
        assert (await world.shown(patch_id))["status"] == "APPLIED"
        world.clock.forward(seconds=60)
        await step(world)
        await fleet.report()
        await fleet.report("d", "e", bye=True)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "REVERTING", "five still run"
        await scaled_to(world, 3)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "EXPIRED"

    play(scene)


def test_a_patch_with_a_future_start_is_scheduled_and_sent_at_its_start(play: Play) -> None:
    async def scene(world: World) -> None:
        await Fleet(world).report()
        window = {"start": "2026-11-23T13:00Z", "end": "2026-11-23T14:00:00+00:00"}
        patch_id = await world.submit(window=window)
        await review(world)
        assert (await world.shown(patch_id))["status"] == "SCHEDULED"
        assert world.sql("SELECT count(*) FROM outbox") == [(0,)]
        world.clock.forward(minutes=59)
        assert await keep_time(world.db, world.signer, world.clock) is not None
        assert (await world.shown(patch_id))["status"] == "SCHEDULED"
        world.clock.forward(minutes=1)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_a_rollout_whose_replicas_never_run_is_halted(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        await scaled_to(world, 3)
        patch_id = await world.submit(changes={"replicas": 5})
        await review(world)
        await fleet.report()
        world.clock.forward(seconds=61)
        await fleet.report()
        await step(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], "3 run, 5 are wanted" in shown["status_reason"]) == ("HALTED", True)

    play(scene)


def test_a_patch_that_somebody_holds_locked_holds_up_no_other(play: Play) -> None:
    async def scene(world: World) -> None:
        window = {"start": "now", "duration": "5s"}
        held, free = [await world.submit(window=window, priority=number) for number in range(2)]
        await review(world)
        world.clock.forward(seconds=5)
        async with world.db.transaction(EVERY_TENANT) as tx:
            await patches.get(tx, held, lock=True)
            async with asyncio.timeout(3):
                await keep_time(world.db, world.signer, world.clock)
            assert (await world.shown(free))["status"] == "REVERTING"
            assert (await world.shown(held))["status"] == "ROLLING_OUT"

    play(scene)


def test_a_failed_receipt_halts_and_reverts_without_a_human(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        patch_id = await world.submit()
        await review(world)
        await fleet.report("a")
        failure = {"patch_id": patch_id, "stage": "checked", "detail": "nginx: [emerg] invalid rate"}
        await fleet.report("b", active=[], failed=[failure])
        await step(world)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "REVERTING"
        await fleet.report()
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "ROLLED_BACK"
        assert "instance b failed at checked: nginx: [emerg] invalid rate" in shown["status_reason"]
        assert "HALTED" in await statuses(world, patch_id)

    play(scene)


def test_a_joiner_that_fails_halts_an_applied_patch(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        await fleet.report()
        patch_id = await world.submit()
        await review(world)
        await fleet.report()
        await step(world)
        failure = {"patch_id": patch_id, "stage": "effective", "detail": "no answer"}
        await fleet.report("late", active=[], failed=[failure])
        await step(world)
        assert (await world.shown(patch_id))["status"] == "HALTED"

    play(scene)


def test_a_rollout_that_is_not_confirmed_in_time_is_halted(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        patch_id = await world.submit()
        await review(world)
        await fleet.report("a", "b")
        world.clock.forward(seconds=61)
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "HALTED"
        assert shown["status_reason"] == "not in effect within 60 s: waiting for c to confirm"

    play(scene)


def test_an_instance_gone_dark_keeps_the_patch_reverting_and_is_named(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        patch_id = await world.submit(window={"start": "now", "duration": "60s"})
        await review(world)
        await fleet.report()
        await step(world)
        world.clock.forward(seconds=60)
        await step(world)
        await fleet.report("a", "b")
        world.clock.forward(seconds=31)
        await fleet.report("a", "b")
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REVERTING"
        assert shown["progress"]["overdue"] == ["c"]
        assert shown["progress"]["waiting_for"] == "c (overdue) to go back"
        instances = (await world.call("GET", "/api/instance")).json()["items"]
        assert {one["instance"]: one["status"] for one in instances} == {"a": "LIVE", "b": "LIVE", "c": "STALE"}

    play(scene)


def test_cancel_before_and_rollback_after(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        waiting, running = await world.submit(), await world.submit(priority=1)
        assert (await world.call("POST", f"/api/patch/{waiting}/cancel")).json()["status"] == "CANCELLED"
        await review(world)
        refused = await world.call("POST", f"/api/patch/{running}/cancel")
        assert (refused.status_code, "roll it back" in refused.json()["detail"]) == (409, True)
        back = await world.call("POST", f"/api/patch/{running}/rollback", json={"reason": "too fast"})
        assert (back.status_code, back.json()["status"]) == (202, "REVERTING")
        await fleet.report()
        await step(world)
        shown = await world.shown(running)
        assert (shown["status"], shown["status_reason"]) == ("ROLLED_BACK", "too fast")
        again = await world.call("POST", f"/api/patch/{running}/rollback")
        assert again.status_code == 409

    play(scene)


def test_each_step_has_its_event_and_audit_row_and_each_stream_step_its_revision(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        patch_id = await world.submit(window={"start": "now", "duration": "60s"})
        await review(world)
        await fleet.report()
        await step(world)
        world.clock.forward(seconds=60)
        await step(world)
        await fleet.report()
        await step(world)
        events = world.sql("SELECT to_status FROM patch_event WHERE patch_id = %s ORDER BY id", patch_id)
        audited = world.sql("SELECT after ->> 'status' FROM audit WHERE subject = %s ORDER BY id", f"patch/{patch_id}")
        assert [row[0] for row in events[1:]] == [row[0] for row in audited[1:]]
        assert len(events) == 6
        assert world.sql("SELECT revision FROM outbox ORDER BY 1") == [(1,), (2,)]
        assert world.sql("SELECT revision FROM stream_revision ORDER BY 1") == [(1,), (2,)]
        assert all(TRANSITIONS[Status(a[0])] >= {Status(b[0])} for a, b in pairwise(events))
        assert Status(events[-1][0]) in TERMINAL

    play(scene)


def test_what_goes_wrong_with_one_patch_stops_no_other(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        broken, fine = await world.submit(), await world.submit(changes={"rate_limit_rps": 90}, priority=1)
        await review(world)
        await fleet.report()
        monkeypatch.setattr(rollout, "targets", _raising_for(broken, rollout.targets))
        with pytest.raises(ExceptionGroup):
            await step(world)
        monkeypatch.undo()
        assert (await world.shown(fine))["status"] == "APPLIED"
        await step(world)
        assert (await world.shown(broken))["status"] == "APPLIED"

    play(scene)


def _raising_for(patch_id: int, real: Callable[..., Any]) -> Callable[..., Any]:
    def targets(patch: Patch, *more: Any) -> Any:
        if patch.id == patch_id:
            raise RuntimeError("broken on purpose")
        return real(patch, *more)

    return targets
