"""People's approval of patches, through the API: who counts, who does not, and what is signed in the end."""

import asyncio
import base64
import json
from typing import Any

import pytest

from hms_mgt.store import streams
from hms_mgt.store.database import EVERY_TENANT
from hms_svc import messages, wire
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.people import join
from tests.mgt.steps import review, statuses, step

TWO = {"approvals": 2}


async def awaiting(world: World, *obligations: Any, **changed: Any) -> int:
    """Submit a patch that waits for approval, with olga, pieter and nadia there to give it."""
    world.governance.obligations = list(obligations) or [TWO]
    if not world.sql("SELECT 1 FROM token WHERE name = 'olga'"):
        await join(world, "approver", "olga", "pieter", "nadia")
        await join(world, "release_manager", "rosa")
    patch_id = await world.submit(**changed)
    await review(world)
    assert (await world.shown(patch_id))["status"] == "AWAITING_APPROVAL"
    return patch_id


async def say(world: World, patch_id: int, who: str, word: str = "approve", comment: str = "fine") -> Any:
    return await world.call("POST", f"/api/patch/{patch_id}/{word}", who, json={"comment": comment})


def test_the_last_approval_lets_the_patch_through(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        shown = await world.shown(patch_id)
        assert shown["status_reason"] == "waiting for 2 approvals by approver (0 of 2)"
        assert shown["obligations"] == shown["decision"]["obligations"] == [TWO]
        assert world.sql("SELECT count(*) FROM outbox") == [(0,)]
        first = await say(world, patch_id, "olga", comment="tried on staging")
        assert first.status_code == 200, first.text
        assert first.json()["status_reason"] == "waiting for 2 approvals by approver (1 of 2)"
        world.clock.forward(seconds=60)
        last = (await world.call("POST", f"/api/patch/{patch_id}/approve", "pieter")).json()
        assert (last["status"], last["decision"]["verdict"]) == ("ROLLING_OUT", "allow")
        assert last["approvals"] == [
            {
                "approver": "olga",
                "role": "approver",
                "verdict": "approve",
                "comment": "tried on staging",
                "at": "2026-11-23T12:00:00Z",
            },
            {
                "approver": "pieter",
                "role": "approver",
                "verdict": "approve",
                "comment": "",
                "at": "2026-11-23T12:01:00Z",
            },
        ]
        assert await statuses(world, patch_id) == [
            "QUEUED",
            "AWAITING_APPROVAL",
            "AWAITING_APPROVAL",
            "APPROVED",
            "ROLLING_OUT",
        ]
        approved = last["events"][3]
        assert (approved["actor"], approved["detail"]) == ("pieter", "approved by olga, pieter")

    play(scene)


def test_each_word_has_its_audit_row_with_what_was_said_before_and_after(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        await say(world, patch_id, "olga", comment="fine")
        await say(world, patch_id, "pieter", "reject", comment="not today")
        rows = world.sql(
            "SELECT actor, role, action, before, after, decision_id, request_id IS NOT NULL FROM audit"
            " WHERE action IN ('patch.approved_by', 'patch.rejected_by') ORDER BY id"
        )
        olga = {"approver": "olga", "role": "approver", "verdict": "approve", "comment": "fine"}
        pieter = {"approver": "pieter", "role": "approver", "verdict": "reject", "comment": "not today"}
        at, status = {"at": "2026-11-23T12:00:00Z"}, "AWAITING_APPROVAL"
        said = [{**olga, **at}, {**pieter, **at}]
        assert rows == [
            (
                "olga",
                "approver",
                "patch.approved_by",
                {"status": status, "approvals": []},
                {"status": status, "approvals": said[:1]},
                "d-1",
                True,
            ),
            (
                "pieter",
                "approver",
                "patch.rejected_by",
                {"status": status, "approvals": said[:1]},
                {"status": status, "approvals": said},
                "d-1",
                True,
            ),
        ]

    play(scene)


def test_one_rejection_ends_it_with_who_and_why(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        await say(world, patch_id, "olga")
        for nothing in (b"", b"{}", b'{"comment": " "}'):
            answer = await world.call("POST", f"/api/patch/{patch_id}/reject", "pieter", content=nothing)
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/comment")
        answer = await say(world, patch_id, "pieter", "reject", "not before the market is over")
        assert answer.status_code == 200
        assert answer.json()["status"] == "REJECTED"
        assert answer.json()["status_reason"] == "rejected by pieter: not before the market is over"
        assert (await say(world, patch_id, "nadia")).status_code == 409
        assert world.sql("SELECT count(*) FROM outbox") == [(0,)]

    play(scene)


def test_the_author_never_counts(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world, {"approvals": 1, "roles": ["release_manager", "approver"]})
        for word in ("approve", "reject"):
            answer = await say(world, patch_id, "release_manager@IACB", word)
            assert answer.status_code == 403
            assert "author's word on it never counts" in answer.json()["detail"]
        assert world.sql("SELECT count(*) FROM approval") == [(0,)]
        assert world.sql("SELECT actor FROM audit WHERE action = 'denied'") == [("release_manager@IACB",)] * 2
        assert (await say(world, patch_id, "rosa")).json()["status"] == "ROLLING_OUT"

    play(scene)


@pytest.mark.parametrize("role", ["viewer", "auditor", "platform_admin"])
def test_roles_that_approve_nothing_are_refused(play: Play, role: str) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        # Before a byte of the body is looked at.
        answer = await world.call("POST", f"/api/patch/{patch_id}/approve", f"{role}@IACB", content=b"{")
        assert answer.status_code == 403
        assert world.sql("SELECT count(*) FROM approval") == [(0,)]

    play(scene)


def test_a_role_that_is_not_asked_for_does_not_count(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world, TWO)
        answer = await say(world, patch_id, "rosa")
        assert (answer.status_code, "GOV asks for approver" in answer.json()["detail"]) == (403, True)
        assert world.sql("SELECT count(*) FROM approval") == [(0,)]

    play(scene)


def test_every_obligation_has_to_be_met(play: Play) -> None:
    async def scene(world: World) -> None:
        both = {"approvals": 2, "roles": ["approver", "release_manager"]}, {"approvals": 1}
        patch_id = await awaiting(world, *both, changes={"replicas": 4})
        await join(world, "release_manager", "rudi")
        await say(world, patch_id, "rosa")
        shown = (await say(world, patch_id, "rudi")).json()
        assert shown["status_reason"] == "waiting for 1 approval by approver (0 of 1)"
        assert (await say(world, patch_id, "olga")).json()["status"] == "ROLLING_OUT"

    play(scene)


def test_a_person_has_one_word(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        await say(world, patch_id, "olga")
        for word in ("approve", "reject"):
            answer = await say(world, patch_id, "olga", word)
            assert (answer.status_code, "already" in answer.json()["detail"]) == (409, True)
        assert (await world.shown(patch_id))["status"] == "AWAITING_APPROVAL"

    play(scene)


def test_what_waits_for_no_approval_takes_none(play: Play) -> None:
    async def scene(world: World) -> None:
        await join(world, "approver", "olga")
        patch_id = await world.submit()
        for status in ("QUEUED", "ROLLING_OUT"):
            answer = await say(world, patch_id, "olga")
            assert (answer.status_code, status in answer.json()["detail"]) == (409, True)
            await review(world)

    play(scene)


def test_another_tenants_patch_is_not_there(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        for who in ("approver@VA", "release_manager@VA"):
            for word in ("approve", "reject"):
                assert (await say(world, patch_id, who, word)).status_code == 404
        assert (await say(world, 999, "olga")).status_code == 404
        assert world.sql("SELECT count(*) FROM approval") == [(0,)]

    play(scene)


@pytest.mark.parametrize(
    "obligation", [{"approvals": "two"}, {"change_ticket": True}, {"approvals": 1, "roles": ["x"]}]
)
def test_what_gov_obliges_and_nobody_can_carry_out_is_rejected_by_name(play: Play, obligation: Any) -> None:
    async def scene(world: World) -> None:
        world.governance.obligations = [TWO, obligation]
        patch_id = await world.submit()
        await review(world)
        shown = await world.shown(patch_id)
        assert shown["status"] == "REJECTED"
        assert json.dumps([TWO, obligation]) in shown["status_reason"]

    play(scene)


def test_a_quota_that_shrank_meanwhile_refuses_the_last_approval(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world, changes={"replicas": 10})
        await say(world, patch_id, "olga")
        quota = {"replicas": 9}
        answer = await world.call("PUT", "/api/tenant/IACB/quota", "approver@IACB", json=quota)
        assert answer.status_code == 200, answer.text
        answer = await say(world, patch_id, "pieter")
        assert (answer.status_code, answer.json()["status"]) == (200, "REJECTED")
        assert answer.json()["status_reason"].startswith("approved by olga, pieter, but replicas would come to 10")

    play(scene)


def test_a_window_that_ends_meanwhile_ends_the_waiting(play: Play) -> None:
    async def scene(world: World) -> None:
        missed, late = await awaiting(world), await awaiting(world, {"approvals": 1}, changes={"replicas": 4})
        world.clock.forward(hours=1)
        answer = await say(world, late, "olga")
        assert answer.json()["status"] == "REJECTED"
        assert "but the window ended" in answer.json()["status_reason"]
        await step(world)
        shown = await world.shown(missed)
        assert shown["status"] == "CANCELLED"
        assert shown["status_reason"] == "the window ended at 2026-11-23T13:00:00Z before everybody had approved"

    play(scene)


def test_it_can_be_cancelled_while_it_waits_and_an_edit_takes_the_approvals_back(play: Play) -> None:
    async def scene(world: World) -> None:
        withdrawn = await awaiting(world)
        assert (await world.call("POST", f"/api/patch/{withdrawn}/cancel")).status_code == 202
        edited = await awaiting(world)
        await say(world, edited, "olga")
        new = await world.submit(changes={"rate_limit_rps": 300}, supersedes=[edited])
        assert (await world.shown(edited))["status"] == "CANCELLED"
        assert (await say(world, edited, "pieter")).status_code == 409
        await review(world)
        shown = await world.shown(new)
        assert (shown["status"], shown["approvals"], shown["supersedes"]) == ("AWAITING_APPROVAL", [], [edited])

    play(scene)


def test_what_is_planned_and_superseded_is_withdrawn_with_the_last_approval(play: Play) -> None:
    async def scene(world: World) -> None:
        tomorrow = {"start": "2026-11-24T12:00Z", "duration": "1h"}
        old = await world.submit(window=tomorrow)
        await review(world)
        new = await awaiting(world, {"approvals": 1}, window=tomorrow, supersedes=[old])
        assert (await world.shown(old))["status"] == "SCHEDULED"
        assert (await say(world, new, "olga")).json()["status"] == "SCHEDULED"
        shown = await world.shown(old)
        assert (shown["status"], shown["superseded_by"]) == ("CANCELLED", new)

    play(scene)


def test_of_two_last_approvals_at_once_one_lets_it_through(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world, {"approvals": 1})
        answers = await asyncio.gather(*(say(world, patch_id, who) for who in ("olga", "pieter", "nadia")))
        assert sorted(answer.status_code for answer in answers) == [200, 409, 409]
        assert (await statuses(world, patch_id)).count("APPROVED") == 1
        assert world.sql("SELECT count(*) FROM stream_revision") == [(1,)]
        assert len((await world.shown(patch_id))["approvals"]) == 1

    play(scene)


def test_two_approvals_at_once_are_both_counted(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        answers = await asyncio.gather(*(say(world, patch_id, who) for who in ("olga", "pieter")))
        assert [answer.status_code for answer in answers] == [200, 200]
        assert (await statuses(world, patch_id)).count("APPROVED") == 1

    play(scene)


async def snapshot(world: World) -> dict[str, Any]:
    async with world.db.transaction(EVERY_TENANT) as tx:
        head = await streams.head(tx, "IACB", PATCH["service"])
    assert head is not None
    envelope: dict[str, Any] = json.loads(head.snapshot)
    return envelope


def test_who_approved_is_inside_what_mgt_signs(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world)
        for who in ("pieter", "olga"):
            await say(world, patch_id, who)
        world.governance.obligations = []
        await world.submit(changes={"replicas": 4})
        await review(world)
        envelope = await snapshot(world)
        payload = wire.unseal(envelope, wire.STREAM, world.trust.mgt)
        approved, unasked = payload["patches"]
        at = "2026-11-23T12:00:00Z"
        assert approved["approvals"] == [
            {"approver": "olga", "role": "approver", "at": at},
            {"approver": "pieter", "role": "approver", "at": at},
        ]
        assert unasked.keys() == {"order", "admit_below", "decision"}
        decision = wire.unseal(approved["decision"], wire.DECISION, world.trust.gov)
        assert decision["obligations"] == [TWO]
        assert isinstance(messages.read_message(json.dumps(envelope), world.trust, "IACB"), messages.StreamMessage)
        approved["approvals"][0]["approver"] = "mallory"
        envelope["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()
        with pytest.raises(wire.Refused, match="wrong_signature"):
            messages.read_message(json.dumps(envelope), world.trust, "IACB")

    play(scene)


def test_the_record_of_each_revision_keeps_who_approved(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world, {"approvals": 1})
        await say(world, patch_id, "olga")
        deltas = world.sql("SELECT delta FROM outbox")
        entries = world.sql("SELECT entries FROM stream_revision")
        (held,) = entries[0][0]
        assert [one["approver"] for one in held["approvals"]] == ["olga"]
        delta = wire.unseal(deltas[0][0], wire.STREAM, world.trust.mgt)
        assert delta["patches"] == [held]

    play(scene)


def test_approvals_count_when_a_message_is_full(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await awaiting(world, {"approvals": 1})
        world.sql(
            "INSERT INTO approval SELECT %s, 'n' || g || repeat('n', 60000), 'IACB', 'approver', 'approve', '', now()"
            " FROM generate_series(1, 4) g RETURNING 1",
            patch_id,
        )
        answer = await say(world, patch_id, "olga")
        assert answer.json()["status"] == "REJECTED"
        assert answer.json()["status_reason"].endswith("would no longer fit one message; end some first")

    play(scene)
