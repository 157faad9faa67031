"""The outbox, the snapshots, the heartbeat and the duties, with a broker and a clock in the test's hands."""

import pytest

from hms_mgt.errors import Unavailable
from hms_mgt.usecases.send import heal, heartbeat, send_pending
from hms_svc import messages, wire
from tests.mgt.conftest import Play, World
from tests.mgt.fleet import SERVICE
from tests.mgt.steps import review


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


def test_deltas_leave_in_order_after_the_snapshot_and_stay_pending_while_redis_is_away(play: Play) -> None:
    async def scene(world: World) -> None:
        first, second = await world.submit(), await world.submit(changes={"rate_limit_rps": 90}, priority=1)
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
        await heal(world.db, world.bus, world.signer, world.clock)
        assert world.bus.stored == whole
        world.bus.stored["IACB", SERVICE] = "tampered"
        await heal(world.db, world.bus, world.signer, world.clock)
        assert world.bus.stored["IACB", SERVICE] == "tampered", "not due yet: another replica just did it"
        world.clock.forward(seconds=5)
        await heal(world.db, world.bus, world.signer, world.clock)
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


def test_a_stream_takes_no_more_than_fits_one_message(play: Play) -> None:
    async def scene(world: World) -> None:
        large = {f"k{i}": "x" * 4000 for i in range(13)}
        made = [await world.submit(changes=large, priority=number) for number in range(4)]
        await review(world)
        shown = [await world.shown(patch_id) for patch_id in made]
        assert [one["status"] for one in shown] == [*["ROLLING_OUT"] * 2, *["REJECTED"] * 2]
        assert "no longer fit one message" in shown[-1]["status_reason"]
        await send_pending(world.db, world.bus, world.clock)
        assert len(world.bus.stored["IACB", SERVICE]) <= wire.MAX_BYTES
        messages.read_message(world.bus.stored["IACB", SERVICE], world.trust, "IACB")

    play(scene)
