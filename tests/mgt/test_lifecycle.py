"""The life of a patch through the real database, with a clock, a GOV and a broker in the test's hands."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_mgt.domain import rollout
from hms_mgt.domain.patch import TERMINAL, TRANSITIONS, Patch, Status
from hms_mgt.errors import Unavailable
from hms_mgt.ports import AckEntry
from hms_mgt.store import catalog, instances, patches
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases.follow import follow
from hms_mgt.usecases.keep_time import keep_time
from hms_mgt.usecases.register import NewDeployment, register_deployment
from hms_mgt.usecases.review import review_next
from hms_mgt.usecases.send import heal, heartbeat, send_pending
from hms_mgt.usecases.take_in import take_in
from hms_svc import messages, wire
from tests.mgt.conftest import CONF, Play, World
from tests.mgt.fleet import SERVICE, Fleet

DEADLINE = timedelta(seconds=60)
NOW = datetime(2026, 11, 23, tzinfo=UTC)


async def review(world: World) -> None:
    while await review_next(world.reviewer):
        pass


async def step(world: World) -> None:
    await keep_time(world.db, world.signer, world.clock)
    await follow(world.db, world.signer, world.clock, DEADLINE)


async def scaled_to(world: World, running: int) -> None:
    """Play the orchestrator: say that so many instances run."""
    async with world.db.transaction(EVERY_TENANT) as tx:
        for one in await catalog.deployments(tx, "IACB"):
            await catalog.save_scale(tx, one, running, running)


async def statuses(world: World, patch_id: int) -> list[str]:
    return [event["to"] for event in (await world.shown(patch_id))["events"]]


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


def test_a_joiner_that_does_not_confirm_is_named(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        await fleet.report()
        patch_id = await world.submit()
        await review(world)
        await fleet.report()
        await step(world)
        await fleet.report("late", active=[], digest="")
        await fleet.report("late", active=[], digest="0")
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["progress"]["waiting_for"]) == ("APPLIED", "late to confirm")

    play(scene)


def test_no_report_blocks_those_behind_it(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        patch_id = await world.submit()
        await review(world)
        good = await fleet._state("a")
        receipt = {"patch_id": patch_id, "stage": "effective", "at": "0001-01-01T00:00:00+14:00", "detail": ""}
        odd: list[dict[str, Any]] = [
            {"at": "0001-01-01T00:00:00+14:00"},
            {"at": "9999-12-31T23:59:59-14:00"},
            {"receipts": [receipt]},
            {"version": "latest"},
            {"version": "2.1"},
            {"revision": 2**63 - 1},
            {"refused": {"unsigned": 2**63 - 1}},
            {"active": [2**63 - 1] * 3},
            {"url": "\ud800"},
            {"failed": [{"patch_id": 2**63 - 1, "stage": "x", "detail": None}]},
        ]
        bodies = [json.dumps({**good, "instance": f"odd-{i}", **one}).encode() for i, one in enumerate(odd)]
        await fleet.send(*bodies, json.dumps(good).encode())
        assert "a" in (await world.shown(patch_id))["progress"]["effective"]
        await step(world)

    play(scene)


def test_a_batch_that_cannot_be_stored_is_stored_without_its_culprit(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(world: World) -> None:
        real = instances.save

        async def choosy(tx: Any, seen: Any) -> None:
            if seen.id == "b":
                raise RuntimeError("broken on purpose")
            await real(tx, seen)

        monkeypatch.setattr(instances, "save", choosy)
        await Fleet(world).report()
        monkeypatch.undo()
        found = (await world.call("GET", "/api/instance")).json()["items"]
        assert [one["instance"] for one in found] == ["a", "c"]
        assert world.sql("SELECT entry_id FROM ack_cursor WHERE tenant = 'IACB'") == [("3-0",)]

    play(scene)


def test_reports_are_taken_in_once_and_in_the_order_of_their_stream_whatever_the_clocks_say(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        await fleet.report(refused={"unsigned": 1})
        await fleet.report(refused={"unsigned": 2})
        world.clock.forward(seconds=-300)
        await fleet.report(refused={"unsigned": 3})
        # A slower worker comes with what the first one had read as well.
        late = AckEntry("IACB", "2-0", json.dumps({**await fleet._state("a"), "refused": {"unsigned": 2}}).encode())
        await take_in(world.db, world.trust, "IACB", [late], world.clock.now())
        shown = (await world.call("GET", "/api/instance")).json()["items"]
        assert [one["refused"] for one in shown] == [{"unsigned": 3}]
        assert world.sql("SELECT entry_id FROM ack_cursor WHERE tenant = 'IACB'") == [("3-0",)]

    play(scene)


def test_what_a_withdrawn_key_signed_confirms_nothing_and_blocks_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        patch_id = await world.submit()
        await review(world)
        state = json.dumps(await fleet._state("a")).encode()
        world.trust = wire.Trust((SigningKey.generate().verify_key,), world.trust.mgt)
        await fleet.send(state)
        assert (await world.shown(patch_id))["progress"]["effective"] == []
        assert len((await world.call("GET", "/api/instance")).json()["items"]) == 1

    play(scene)


def test_a_duty_or_lease_set_by_a_clock_that_was_ahead_is_not_waited_for(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        world.clock.forward(hours=1)
        await heartbeat(world.db, world.bus, world.signer, world.clock)
        world.governance.away = True
        await review(world)
        world.clock.forward(hours=-1)
        world.governance.away = False
        sent = len(world.bus.published)
        await heartbeat(world.db, world.bus, world.signer, world.clock)
        assert len(world.bus.published) > sent
        await review(world)
        assert (await world.shown(patch_id))["status"] == "ROLLING_OUT"

    play(scene)


def test_a_patch_that_somebody_holds_locked_holds_up_no_other(play: Play) -> None:
    async def scene(world: World) -> None:
        held, free = [await world.submit(window={"start": "now", "duration": "5s"}) for _ in range(2)]
        await review(world)
        world.clock.forward(seconds=5)
        async with world.db.transaction(EVERY_TENANT) as tx:
            await patches.get(tx, held, lock=True)
            async with asyncio.timeout(3):
                await keep_time(world.db, world.signer, world.clock)
            assert (await world.shown(free))["status"] == "REVERTING"
            assert (await world.shown(held))["status"] == "ROLLING_OUT"

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


def test_an_instance_dark_since_before_the_rollout_is_not_waited_for_until_it_is_back(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        world.clock.forward(seconds=31)
        await fleet.report("a", "b")
        patch_id = await world.submit()
        await review(world)
        await fleet.report("a", "b")
        await step(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], shown["progress"]["targeted"]) == ("APPLIED", ["a", "b"])
        await fleet.report("c")
        assert (await world.shown(patch_id))["progress"]["targeted"] == ["a", "b", "c"]

    play(scene)


def test_cancel_before_and_rollback_after(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        waiting, running = await world.submit(), await world.submit()
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
        audited = world.sql("SELECT detail ->> 'to' FROM audit WHERE subject = %s ORDER BY id", f"patch/{patch_id}")
        assert [row[0] for row in events[1:]] == [row[0] for row in audited[1:]]
        assert len(events) == 6
        assert world.sql("SELECT revision FROM outbox ORDER BY 1") == [(1,), (2,)]
        assert world.sql("SELECT revision FROM stream_revision ORDER BY 1") == [(1,), (2,)]
        assert all(TRANSITIONS[Status(a[0])] >= {Status(b[0])} for a, b in pairwise(events))
        assert Status(events[-1][0]) in TERMINAL

    play(scene)


def test_deltas_leave_in_order_after_the_snapshot_and_stay_pending_while_redis_is_away(play: Play) -> None:
    async def scene(world: World) -> None:
        first, second = await world.submit(), await world.submit(changes={"rate_limit_rps": 90})
        await review(world)
        world.bus.away = True
        with pytest.raises(Unavailable):
            await send_pending(world.db, world.bus, world.clock)
        assert world.sql("SELECT count(*) FROM outbox WHERE published_at IS NULL") == [(2,)]
        world.bus.away = False
        await send_pending(world.db, world.bus, world.clock)
        await send_pending(world.db, world.bus, world.clock)
        sent = [messages.read_message(text, world.trust, "IACB") for _, text in world.bus.published]
        assert [(one.revision, [p.id for p in one.patches]) for one in sent] == [(1, [first]), (2, [second])]  # type: ignore[union-attr]
        stored = messages.read_message(world.bus.stored["IACB", SERVICE], world.trust, "IACB")
        assert isinstance(stored, messages.StreamMessage)
        assert (stored.revision, {patch.id for patch in stored.patches}) == (2, {first, second})

    play(scene)


def test_a_flushed_redis_heals_itself(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        await review(world)
        await send_pending(world.db, world.bus, world.clock)
        whole = dict(world.bus.stored)
        world.bus.stored.clear()
        world.clock.forward(seconds=5)
        await heal(world.db, world.bus, world.clock)
        assert world.bus.stored == whole
        world.bus.stored["IACB", SERVICE] = "tampered"
        await heal(world.db, world.bus, world.clock)
        assert world.bus.stored["IACB", SERVICE] == "tampered", "not due yet: another replica just did it"
        world.clock.forward(seconds=5)
        await heal(world.db, world.bus, world.clock)
        assert world.bus.stored == whole

    play(scene)


def test_the_heartbeat_tells_each_tenant_its_own_heads_only(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit()
        await review(world)
        await heartbeat(world.db, world.bus, world.signer, world.clock)
        beats = {tenant: messages.read_message(text, world.trust, tenant) for tenant, text in world.bus.published}
        assert {tenant: beat.heads for tenant, beat in beats.items()} == {"IACB": {SERVICE: 1}, "VA": {}}  # type: ignore[union-attr]

    play(scene)


def test_a_report_speaks_for_its_stream_only_and_repeats_change_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        patch_id = await world.submit()
        await review(world)
        receipt = {"patch_id": patch_id, "stage": "effective", "at": "2026-11-23T12:00:01Z", "detail": ""}
        await fleet.report("a", receipts=[receipt])
        await fleet.report("a", receipts=[receipt])
        assert len((await world.shown(patch_id))["receipts"]) == 1
        # Another tenant's sidecar claims the same patch: its words stay in its own tenant.
        await Fleet(world, tenant="VA").report("a", receipts=[receipt])
        assert len((await world.shown(patch_id))["receipts"]) == 1
        assert len((await world.call("GET", "/api/instance")).json()["items"]) == 1

    play(scene)


def test_a_failing_tools_words_are_stored_whatever_bytes_they_hold(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        patch_id = await world.submit()
        await review(world)
        words = "bad \0 byte, half a \ud800 character" + "x" * 5000
        failure = {"patch_id": patch_id, "stage": "checked", "detail": words}
        receipt = {"patch_id": patch_id, "stage": "failed", "at": "2026-11-23T12:00:01Z", "detail": words}
        await fleet.report("a", failed=[failure], receipts=[receipt])
        assert "half a ? character" in (await world.shown(patch_id))["receipts"][0]["detail"]

    play(scene)


def test_what_goes_wrong_with_one_patch_stops_no_other(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        broken, fine = await world.submit(), await world.submit(changes={"rate_limit_rps": 90})
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


def test_a_stream_takes_no_more_than_fits_one_message(play: Play) -> None:
    async def scene(world: World) -> None:
        large = {f"k{i}": "x" * 4000 for i in range(13)}
        made = [await world.submit(changes=large) for _ in range(4)]
        await review(world)
        shown = [await world.shown(patch_id) for patch_id in made]
        assert [one["status"] for one in shown] == [*["ROLLING_OUT"] * 2, *["REJECTED"] * 2]
        assert "no longer fit one message" in shown[-1]["status_reason"]
        await send_pending(world.db, world.bus, world.clock)
        assert len(world.bus.stored["IACB", SERVICE]) <= wire.MAX_BYTES
        messages.read_message(world.bus.stored["IACB", SERVICE], world.trust, "IACB")

    play(scene)


def test_unreadable_reports_are_passed_over_and_the_rest_is_taken_in(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        good = json.dumps(await fleet._state("a")).encode()
        bad = [
            b"",
            b"{",
            b"[]",
            b"null",
            b'{"instance": 1}',
            b"\xff",
            b"[" * 100_000,
            good.replace(b'"a"', b'"\\u0000"'),
        ]
        await fleet.send(*bad, good)
        found = (await world.call("GET", "/api/instance")).json()["items"]
        assert [one["instance"] for one in found] == ["a"]

    play(scene)
