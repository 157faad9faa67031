"""Freezes: who makes them, whom they hold, and what they never touch."""

from datetime import UTC, datetime
from typing import Any

import pytest

from hms_mgt.store import patches
from hms_mgt.usecases.keep_time import keep_time
from hms_mgt.workers import scheduler
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.people import join
from tests.mgt.steps import review, statuses, step

ADMIN, ROOT = "platform_admin@IACB", "root"
SOON = {"start": "2026-11-23T13:00Z", "end": "2026-11-23T18:00Z"}


async def freeze(world: World, who: str = "approver@IACB", **changed: Any) -> int:
    """Freeze IACB from 12:30 to 14:00, some fields changed; `tenant=None` is the whole platform."""
    usual = {"tenant": "IACB", "start": "2026-11-23T12:30Z", "end": "2026-11-23T14:00Z", "reason": "holidays"}
    document = {name: value for name, value in {**usual, **changed}.items() if value is not None}
    answer = await world.call("POST", "/api/freeze", who, json=document)
    assert answer.status_code == 201, answer.text
    return int(answer.json()["freeze_id"])


async def lift(world: World, number: int, who: str = "approver@IACB", **more: Any) -> Any:
    return await world.call("POST", f"/api/freeze/{number}/lift", who, **more)


async def scheduled(world: World, **changed: Any) -> int:
    """Have a patch SCHEDULED for 13:00, before anything is frozen."""
    patch_id = await world.submit(**{"window": SOON, **changed})
    await review(world)
    assert (await world.shown(patch_id))["status"] == "SCHEDULED"
    return patch_id


async def due(world: World, hour: int, minute: int, second: int = 0) -> None:
    """Let it be so late, and let the scheduler look."""
    world.clock.instant = datetime(2026, 11, 23, hour, minute, second, tzinfo=UTC)
    await step(world)


def test_a_freeze_is_made_shown_listed_and_on_record(play: Play) -> None:
    async def scene(world: World) -> None:
        number = await freeze(world, except_roles=["release_manager"])
        answer = await world.call("GET", f"/api/freeze/{number}", "viewer@IACB")
        assert answer.json() == {
            "freeze_id": number,
            "tenant": "IACB",
            "start": "2026-11-23T12:30:00Z",
            "end": "2026-11-23T14:00:00Z",
            "reason": "holidays",
            "except_roles": ["release_manager"],
            "created_by": "approver@IACB",
            "created_at": "2026-11-23T12:00:00Z",
            "lifted_at": None,
            "lifted_by": None,
        }
        ((tenant, after),) = world.sql("SELECT tenant, after FROM audit WHERE action = 'freeze.created'")
        assert (tenant, after["ends_at"], after["reason"]) == ("IACB", "2026-11-23T14:00:00Z", "holidays")
        assert (await lift(world, number, json={"reason": "the market is over"})).json()["lifted_by"] == "approver@IACB"
        ((before, after, detail),) = world.sql("SELECT before, after, detail FROM audit WHERE action = 'freeze.lifted'")
        assert (before["lifted_at"], after["lifted_at"]) == (None, "2026-11-23T12:00:00Z")
        assert detail == {"reason": "the market is over"}

    play(scene)


def test_the_listing_has_what_is_on_and_to_come_and_all_when_asked(play: Play) -> None:
    async def scene(world: World) -> None:
        await join(world, "platform_admin", ROOT, tenant=None)
        over = await freeze(world, end="2026-11-23T12:40Z")
        lifted = await freeze(world)
        await lift(world, lifted)
        on, everywhere = await freeze(world), await freeze(world, ROOT, tenant=None)
        foreign = await freeze(world, "approver@VA", tenant="VA")
        world.clock.forward(hours=1)

        async def listed(query: str = "", who: str = "viewer@IACB") -> list[int]:
            answer = await world.call("GET", f"/api/freeze{query}", who)
            assert answer.status_code == 200, answer.text
            return [one["freeze_id"] for one in answer.json()["items"]]

        assert await listed() == [everywhere, on]
        assert await listed("?all=true") == [everywhere, on, lifted, over]
        assert await listed("", ROOT) == [foreign, everywhere, on]
        assert await listed("?tenant=VA", ROOT) == [foreign, everywhere]
        assert await listed("?tenant=VA") == [everywhere]
        page = (await world.call("GET", "/api/freeze?all=true&limit=3", "viewer@IACB")).json()
        assert len(page["items"]) == 3
        assert await listed(f"?all=true&cursor={page['next_cursor']}") == [over]
        assert (await world.call("GET", f"/api/freeze/{foreign}", "viewer@IACB")).status_code == 404
        assert (await world.call("GET", f"/api/freeze/{everywhere}", "viewer@IACB")).json()["tenant"] is None

    play(scene)


@pytest.mark.parametrize("role", ["viewer", "auditor", "release_manager"])
def test_roles_that_govern_nothing_freeze_and_lift_nothing(play: Play, role: str) -> None:
    async def scene(world: World) -> None:
        number = await freeze(world)
        who = f"{role}@IACB"
        for path in ("/api/freeze", f"/api/freeze/{number}/lift"):
            # Before a byte of the body is looked at.
            assert (await world.call("POST", path, who, content=b"{")).status_code == 403
        assert world.sql("SELECT count(*) FROM freeze_window WHERE lifted_at IS NULL") == [(1,)]
        assert world.sql("SELECT count(*) FROM audit WHERE action = 'denied'") == [(2,)]

    play(scene)


def test_a_tenant_freezes_itself_only(play: Play) -> None:
    async def scene(world: World) -> None:
        await join(world, "platform_admin", ROOT, tenant=None)
        body = {"start": "now", "duration": "1h", "reason": "no"}
        for who in ("approver@IACB", ADMIN):
            answer = await world.call("POST", "/api/freeze", who, json={**body, "tenant": "VA"})
            assert answer.status_code == 403
            assert (await world.call("POST", "/api/freeze", who, json=body)).status_code == 403
        mine = await freeze(world, "approver@VA", tenant="VA")
        everywhere = await freeze(world, ROOT, tenant=None)
        assert (await lift(world, mine)).status_code == 404
        for who in ("approver@IACB", ADMIN):
            assert (await lift(world, everywhere, who)).status_code == 403
        unknown = await world.call("POST", "/api/freeze", ROOT, json={**body, "tenant": "NOBODY"})
        assert (unknown.status_code, unknown.json()["errors"][0]["pointer"]) == (422, "/tenant")
        assert (await lift(world, everywhere, ROOT)).status_code == 200
        assert world.sql("SELECT tenant FROM audit WHERE action = 'freeze.lifted'") == [(None,)]

    play(scene)


def test_what_is_no_freeze_is_pointed_at(play: Play) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("POST", "/api/freeze", "approver@IACB", json={"tenant": "IACB", "start": "soon"})
        assert answer.status_code == 422
        assert [one["pointer"] for one in answer.json()["errors"]] == ["/start", "/reason"]

    play(scene)


def test_a_freeze_is_lifted_once_and_not_after_its_end(play: Play) -> None:
    async def scene(world: World) -> None:
        number, over = await freeze(world), await freeze(world, end="2026-11-23T12:40Z")
        assert (await lift(world, 999)).status_code == 404
        assert (await lift(world, number)).status_code == 200
        assert (await lift(world, number)).status_code == 409
        world.clock.forward(hours=1)
        assert (await lift(world, over)).status_code == 409

    play(scene)


def test_a_patch_that_would_begin_in_a_freeze_is_refused_with_the_first_free_instant(play: Play) -> None:
    async def scene(world: World) -> None:
        number, following = await freeze(world), await freeze(world, start="2026-11-23T14:00Z", end="2026-11-23T15:00Z")
        answer = await world.call(
            "POST",
            "/api/patch",
            json={
                "service": "ARTIST_REGISTRY_API",
                "version_selector": "*",
                "changes": {"a": 1},
                "tenant": "IACB",
                "window": SOON,
            },
        )
        assert (answer.status_code, answer.json()["code"]) == (409, "frozen")
        assert answer.json()["freeze"]["id"] == number
        assert answer.json()["free_from"] == "2026-11-23T15:00:00Z"
        assert following != number
        # Of VA nothing is frozen.
        await world.submit(window={"start": "now", "duration": "10m"})

    play(scene)


def test_a_freeze_made_later_holds_what_comes_due_in_it_and_then_lets_it_begin(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        number = await freeze(world)
        await due(world, 13, 0)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["held_until"]) == ("SCHEDULED", "2026-11-23T14:00:00Z")
        assert shown["status_reason"] == f"held by freeze {number} until 2026-11-23T14:00:00Z: holidays"
        ((before, after),) = world.sql("SELECT before, after FROM audit WHERE action = 'patch.held'")
        assert (before["held_until"], after["held_until"]) == (None, "2026-11-23T14:00:00Z")
        await due(world, 13, 59, 59)
        assert (await world.shown(patch_id))["status"] == "SCHEDULED"
        await due(world, 14, 0)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["held_until"], shown["freeze_exemption"]) == ("ROLLING_OUT", None, None)

    play(scene)


def test_a_held_patch_is_left_alone_until_its_time(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        await freeze(world)
        await due(world, 13, 0)
        events = await statuses(world, patch_id)
        for _ in range(3):
            following = await keep_time(world.db, world.signer, world.clock)
            assert following == datetime(2026, 11, 23, 14, 0, tzinfo=UTC)
            assert await scheduler.step(world.db, world.signer, world.clock) == 1.0
        assert await statuses(world, patch_id) == events

    play(scene)


def test_a_patch_that_two_workers_saw_come_due_is_held_once(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        await freeze(world)
        await due(world, 13, 0)
        events = await statuses(world, patch_id)

        async def seen_before(*_: object) -> list[int]:
            return [patch_id]

        monkeypatch.setattr(patches, "due", seen_before)
        await keep_time(world.db, world.signer, world.clock)
        assert await statuses(world, patch_id) == events

    play(scene)


def test_a_patch_that_is_approved_in_a_freeze_is_held_too(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit(window={"start": "now", "duration": "5h"})
        await freeze(world)
        world.clock.forward(minutes=40)
        await review(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["held_until"]) == ("SCHEDULED", "2026-11-23T14:00:00Z")
        assert await statuses(world, patch_id) == ["QUEUED", "APPROVED", "SCHEDULED"]

    play(scene)


def test_freezes_one_after_the_other_hold_to_the_last_ones_end(play: Play) -> None:
    async def scene(world: World) -> None:
        await join(world, "platform_admin", ROOT, tenant=None)
        patch_id = await scheduled(world)
        await freeze(world)
        await freeze(world, ROOT, tenant=None, start="2026-11-23T13:50Z", end="2026-11-23T15:00Z")
        await due(world, 13, 0)
        assert (await world.shown(patch_id))["held_until"] == "2026-11-23T15:00:00Z"
        late = await freeze(world, start="2026-11-23T14:30Z", end="2026-11-23T16:00Z")
        await due(world, 15, 0)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["held_until"]) == ("SCHEDULED", "2026-11-23T16:00:00Z")
        assert shown["status_reason"].startswith(f"held by freeze {late} ")
        await due(world, 16, 0)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_a_lifted_freeze_lets_go_at_once_of_what_it_held(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        number = await freeze(world)
        await due(world, 13, 0)
        await lift(world, number)
        shown = await world.shown(patch_id)
        assert (shown["held_until"], shown["status_reason"]) == (None, f"freeze {number} was lifted")
        await step(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_what_another_freeze_still_holds_is_held_on_for_its_time(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        await freeze(world)
        longer = await freeze(world, end="2026-11-23T16:00Z")
        await due(world, 13, 0)
        assert (await world.shown(patch_id))["held_until"] == "2026-11-23T16:00:00Z"
        await lift(world, longer)
        await step(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["held_until"]) == ("SCHEDULED", "2026-11-23T14:00:00Z")

    play(scene)


def test_a_freeze_lifted_in_the_very_moment_it_is_heeded_holds_nothing_up(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        number = await freeze(world)
        await due(world, 13, 0)
        # As if the patch had been held by a transaction that did not see the lifting yet.
        world.sql("UPDATE freeze_window SET lifted_at = now(), lifted_by = 'ann' WHERE id = %s RETURNING 1", number)
        await step(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_freezes_of_others_hold_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        await freeze(world, "approver@VA", tenant="VA")
        await due(world, 13, 0)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_lifting_a_tenants_freeze_lets_go_of_nobody_elses_patches(play: Play) -> None:
    async def scene(world: World) -> None:
        await join(world, "platform_admin", ROOT, tenant=None)
        patch_id = await scheduled(world)
        await freeze(world)
        foreign = await freeze(world, "approver@VA", tenant="VA")
        await due(world, 13, 0)
        await lift(world, foreign, ROOT)
        assert (await world.shown(patch_id))["held_until"] == "2026-11-23T14:00:00Z"

    play(scene)


def test_an_exception_by_role_is_put_on_record(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world)
        number = await freeze(world, except_roles=["release_manager"])
        await due(world, 13, 0)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["freeze_exemption"]) == ("ROLLING_OUT", "role release_manager")
        assert shown["status_reason"] == (
            f"sent to the sidecars; freeze {number} does not hold it: role release_manager"
        )

    play(scene)


def test_an_exception_from_one_freeze_is_none_from_another(play: Play) -> None:
    async def scene(world: World) -> None:
        await freeze(world, except_roles=["release_manager"])
        patch_id = await scheduled(world)
        assert (await world.shown(patch_id))["freeze_exemption"] == "role release_manager"
        strict = await freeze(world)
        await due(world, 13, 0)
        shown = await world.shown(patch_id)
        assert shown["status"] == "SCHEDULED"
        assert shown["status_reason"].startswith(f"held by freeze {strict} ")

    play(scene)


def test_a_window_that_is_over_before_the_freeze_is_ends_the_patch(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await scheduled(world, window={"start": "2026-11-23T13:00Z", "end": "2026-11-23T13:30Z"})
        number = await freeze(world)
        await due(world, 13, 0)
        await due(world, 13, 30)
        shown = await world.shown(patch_id)
        assert shown["status"] == "CANCELLED"
        assert f"before it began: held by freeze {number}" in shown["status_reason"]

    play(scene)


async def in_force(world: World, fleet: Fleet, **changed: Any) -> int:
    await fleet.report()
    patch_id = await world.submit(**{"window": {"start": "now", "duration": "1h"}, **changed})
    await review(world)
    await fleet.report()
    await step(world)
    assert (await world.shown(patch_id))["status"] == "APPLIED"
    return patch_id


def test_what_ends_or_goes_back_is_never_frozen(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        expiring = await in_force(world, fleet)
        rolled_back = await in_force(world, fleet, changes={"a": 1})
        withdrawn = await scheduled(world, changes={"b": 1})
        halting = await world.submit(changes={"c": 1}, window={"start": "now", "duration": "2h"})
        await review(world)
        await freeze(world, start="2026-11-23T12:00Z")
        await fleet.report("a", failed=[{"patch_id": halting, "stage": "check", "detail": "no"}])
        await step(world)
        assert (await world.shown(halting))["status"] == "HALTED"
        await step(world)
        assert (await world.shown(halting))["status"] == "REVERTING"
        assert (await world.call("POST", f"/api/patch/{rolled_back}/rollback")).status_code == 202
        assert (await world.call("POST", f"/api/patch/{withdrawn}/cancel")).status_code == 202
        await fleet.report()
        await step(world)
        await due(world, 13, 0)
        await fleet.report()
        await step(world)
        ends = {halting: "ROLLED_BACK", rolled_back: "ROLLED_BACK", withdrawn: "CANCELLED", expiring: "EXPIRED"}
        assert {number: (await world.shown(number))["status"] for number in ends} == ends

    play(scene)


def test_what_waits_for_approval_is_approved_and_held(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.obligations = [{"approvals": 1}]
        patch_id = await world.submit(window={"start": "now", "duration": "5h"})
        await review(world)
        await freeze(world)
        world.clock.forward(minutes=40)
        answer = await world.call("POST", f"/api/patch/{patch_id}/approve", "approver@IACB")
        assert (answer.json()["status"], answer.json()["held_until"]) == ("SCHEDULED", "2026-11-23T14:00:00Z")

    play(scene)


def test_break_glass_passes_a_freeze_by_two_peoples_word_and_is_marked_everywhere(play: Play) -> None:
    async def scene(world: World) -> None:
        await join(world, "approver", "olga")
        await join(world, "release_manager", "rosa")
        world.governance.obligations = [{"approvals": 2, "roles": ["approver", "release_manager"]}]
        await freeze(world, start="2026-11-23T11:00Z")
        patch_id = await world.submit(
            break_glass=True, reason="the registry is down", window={"start": "now", "duration": "2h"}
        )
        await review(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["break_glass"], shown["decision"]["break_glass"]) == (
            "AWAITING_APPROVAL",
            True,
            True,
        )
        assert shown["status_reason"].startswith("break-glass: waiting for 2 approvals")
        await world.call("POST", f"/api/patch/{patch_id}/approve", "olga")
        shown = (await world.call("POST", f"/api/patch/{patch_id}/approve", "rosa")).json()
        assert (shown["status"], shown["freeze_exemption"]) == ("ROLLING_OUT", "break-glass")
        assert [event["detail"][:11] for event in shown["events"][3:]] == ["break-glass", "break-glass"]
        ((queued,),) = world.sql("SELECT after FROM audit WHERE action = 'patch.queued'")
        assert queued["break_glass"] is True

    play(scene)


def test_a_start_that_is_past_is_held_to_the_freeze_of_now(play: Play) -> None:
    async def scene(world: World) -> None:
        await freeze(world, start="now")
        past = {"start": "2026-11-23T11:00Z", "end": "2026-11-23T18:00Z"}
        answer = await world.call("POST", "/api/patch", json={**PATCH, "window": past})
        assert (answer.status_code, answer.json()["code"]) == (409, "frozen")
        assert answer.json()["free_from"] == "2026-11-23T14:00:00Z"

    play(scene)


def test_another_window_that_begins_after_the_old_one_is_frozen_like_any(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)  # to 13:00
        await freeze(world)
        path = f"/api/patch/{old}/window"
        later = await world.call("POST", path, json={"window": {"start": "2026-11-23T13:30Z", "duration": "1h"}})
        assert (later.status_code, later.json()["code"]) == (409, "frozen")
        assert (await world.call("POST", path, json={"window": {"duration": "3h"}})).status_code == 202

    play(scene)


def test_another_window_is_held_once_there_is_nothing_left_that_goes_on(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet)
        await freeze(world, start="now")
        answer = await world.call("POST", f"/api/patch/{old}/window", json={"window": {"duration": "3h"}})
        new = answer.json()["patch_id"]
        assert (await world.shown(new))["freeze_exemption"] == f"goes on with patch {old}"
        await world.call("POST", f"/api/patch/{old}/rollback")
        await review(world)
        shown = await world.shown(new)
        assert (shown["status"], shown["held_until"]) == ("SCHEDULED", "2026-11-23T14:00:00Z")
        assert shown["freeze_exemption"] is None

    play(scene)
