"""What sidecars report and what becomes of it: in order, once, by tenant, and whatever it says."""

import json
from random import Random
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_mgt.ports import AckEntry
from hms_mgt.store import instances
from hms_mgt.usecases.take_in import take_in
from hms_svc import wire
from tests.conditions import THOROUGH
from tests.mgt.conftest import Play, World
from tests.mgt.fleet import SERVICE, Fleet
from tests.mgt.report_mutations import mutated
from tests.mgt.steps import review, step

COUNT, BATCH = (100_000, 500) if THOROUGH else (2_000, 250)
MOST = (253, 128, 2000, 32, 2000, 1000)


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


def test_what_holds_an_instance_up_is_said_where_a_patch_waits_for_it(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a", "b"))
        await fleet.report()
        patch_id = await world.submit()
        await review(world)
        held_up = "reloaded: /run/app.pid holds no process number"
        await fleet.report("a")
        await fleet.report("b", active=[], digest="0", phase="failed", trouble=held_up)
        await step(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "ROLLING_OUT"
        assert shown["progress"]["waiting_for"] == f"b ({held_up}) to confirm"
        await fleet.report("b")
        await step(world)
        assert (await world.shown(patch_id))["status"] == "APPLIED"

    play(scene)


@pytest.mark.parametrize("url", [None, ""])
def test_an_instance_need_not_say_where_it_serves(play: Play, url: str | None) -> None:
    """A sidecar without HMS_URL is an instance like any other; the last release's says so with an empty text."""

    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        await fleet.send(json.dumps({**await fleet._state("a"), "url": url}).encode())
        (shown,) = (await world.call("GET", "/api/instance")).json()["items"]
        assert (shown["instance"], shown["url"]) == ("a", None)

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
        world.trust = world.trust._replace(gov=wire.Pins((SigningKey.generate().verify_key,)))
        await fleet.send(state)
        assert (await world.shown(patch_id))["progress"]["effective"] == []
        assert len((await world.call("GET", "/api/instance")).json()["items"]) == 1

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


def test_the_condition_of_an_instance_is_shown(play: Play) -> None:
    """What is in the way and what people edited by hand: whoever looks at the fleet sees it."""

    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        trouble = "written: /etc/service/conf.yml: No space left on device"
        await fleet.report(phase="failed", trouble=trouble, drift=["greeting", "db.pool"])
        (shown,) = (await world.call("GET", "/api/instance")).json()["items"]
        assert (shown["phase"], shown["trouble"], shown["drift"]) == ("failed", trouble, ["greeting", "db.pool"])
        await fleet.report(phase="steady", trouble="", drift=[])
        (shown,) = (await world.call("GET", "/api/instance")).json()["items"]
        assert (shown["phase"], shown["trouble"], shown["drift"]) == ("steady", "", [])

    play(scene)


def test_a_report_that_does_not_tell_its_condition_is_taken(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        told = await fleet._state("a")
        silent = {name: value for name, value in told.items() if name not in {"phase", "trouble", "drift"}}
        await fleet.send(json.dumps(silent).encode())
        (shown,) = (await world.call("GET", "/api/instance")).json()["items"]
        assert (shown["phase"], shown["trouble"], shown["drift"]) == ("", "", [])

    play(scene)


@pytest.mark.timeout(900)
def test_mutated_reports_store_nothing_that_should_not_be_and_stop_nobody(play: Play) -> None:
    """2,000 by default, 100,000 with HMS_THOROUGH=1; a seed names each."""

    async def scene(world: World) -> None:
        fleet = Fleet(world, ("a",))
        patch_id = await world.submit()
        await review(world)
        await fleet.report()
        good = await fleet._state("a")
        receipt = {"patch_id": patch_id, "stage": "verified", "at": "2026-11-23T12:00:01Z", "detail": "w"}
        good |= {"receipts": [receipt], "failed": [{"patch_id": patch_id, "stage": "checked", "detail": "w"}]}
        for first in range(0, COUNT, BATCH):
            bodies = [mutated(Random(seed), good) for seed in range(first, first + BATCH)]  # noqa: S311 - not secret
            bodies.append(json.dumps({**good, "instance": "last", "trouble": f"batch {first}"}).encode())
            await fleet.send(*bodies)
            told = world.sql("SELECT trouble FROM instance WHERE id = 'last'")
            assert told == [(f"batch {first}",)], f"seeds {first} to {first + BATCH}"
        assert world.sql("SELECT DISTINCT tenant, service FROM instance") == [("IACB", SERVICE)]
        assert world.sql("SELECT DISTINCT tenant FROM receipt") == [("IACB",)]
        sizes = "max(length(id)), max(length(version)), max(length(url)), max(length(phase)), max(length(trouble))"
        (largest,) = world.sql(f"SELECT {sizes}, max(array_length(drift, 1)) FROM instance")  # noqa: S608 - ours
        assert all(size is None or size <= most for size, most in zip(largest, MOST, strict=True)), largest
        shown = await world.call("GET", "/api/instance")
        assert shown.status_code == 200
        assert "a" in (await world.shown(patch_id))["progress"]["effective"]
        strangers = "SELECT count(*) FROM receipt r LEFT JOIN patch p ON p.id = r.patch_id WHERE p.tenant <> r.tenant"
        assert world.sql(strangers) == [(0,)]
        await step(world)

    play(scene)
