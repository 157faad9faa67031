"""Break-glass with the policy as it is shipped, the real GOV behind the real client: two people, hours, no freeze."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from nacl.signing import SigningKey

from hms_gov.app import create_app
from hms_gov.policy import Policy
from hms_gov.settings import SHIPPED_POLICY
from hms_mgt.governance import HttpGovernance
from hms_mgt.ports import Verdict
from hms_svc import wire
from tests.mgt.conftest import Play, World
from tests.mgt.people import join
from tests.mgt.steps import review

FIRE: Mapping[str, Any] = {"break_glass": True, "reason": "the registry is down"}
HOURS = {"start": "now", "duration": "4h"}


class RealGovernance(HttpGovernance):
    """The real client, with the real service in the same process."""

    def __init__(self) -> None:
        key = SigningKey.generate()
        super().__init__("http://gov", wire.Pins((key.verify_key,)))
        self.key = key
        transport = httpx.ASGITransport(create_app(Policy(SHIPPED_POLICY), key))
        self._client = httpx.AsyncClient(base_url="http://gov", transport=transport)


def with_the_real_gov(world: World) -> RealGovernance:
    real = RealGovernance()
    world.reviewer = world.reviewer._replace(governance=real)
    return real


async def say(world: World, patch_id: int, who: str) -> dict[str, Any]:
    answer = await world.call("POST", f"/api/patch/{patch_id}/approve", who)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_two_people_break_the_glass_and_the_signed_decision_says_so(play: Play) -> None:
    async def scene(world: World) -> None:
        real = with_the_real_gov(world)
        await join(world, "release_manager", "rosa")
        body = {"tenant": "IACB", "start": "now", "duration": "8h", "reason": "holidays"}
        assert (await world.call("POST", "/api/freeze", "approver@IACB", json=body)).status_code == 201
        patch_id = await world.submit(**FIRE, window=HOURS)
        await review(world)
        assert (await world.shown(patch_id))["status"] == "AWAITING_APPROVAL"
        assert (await say(world, patch_id, "rosa"))["status"] == "AWAITING_APPROVAL"
        shown = await say(world, patch_id, "approver@IACB")
        assert (shown["status"], shown["freeze_exemption"]) == ("ROLLING_OUT", "break-glass")
        ((decision,),) = world.sql("SELECT decision FROM patch")
        assert wire.unseal(decision, wire.DECISION, wire.Pins((real.key.verify_key,)))["break_glass"] is True

    play(scene)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"window": {"start": "now", "duration": "4h1s"}}, "needs a window that ends within 4 hours"),
        ({"window": {"start": "now"}}, "needs a window that ends within 4 hours"),
        ({"reason": ""}, "a break-glass patch needs a reason"),
    ],
)
def test_who_breaks_it_for_longer_or_for_no_reason_is_refused(play: Play, changed: dict[str, Any], words: str) -> None:
    async def scene(world: World) -> None:
        with_the_real_gov(world)
        patch_id = await world.submit(**{**FIRE, "window": HOURS, **changed})
        await review(world)
        shown = await world.shown(patch_id)
        assert (shown["status"], words in shown["status_reason"]) == ("REJECTED", True)

    play(scene)


def test_a_dry_run_tells_what_would_be_obliged_and_leaves_nothing_to_use(play: Play) -> None:
    async def scene(world: World) -> None:
        real = with_the_real_gov(world)
        found: list[Verdict] = []

        async def evaluate(facts: Mapping[str, Any]) -> Verdict:
            found.append(await real.evaluate(facts))
            return found[-1]

        world.governance.evaluate = evaluate  # type: ignore[method-assign]
        document = {
            "service": "ARTIST_REGISTRY_API",
            "version_selector": "*",
            "changes": {"rate_limit_rps": 200},
            "tenant": "IACB",
            "window": HOURS,
            **FIRE,
        }
        answer = await world.call("POST", "/api/patch?dry_run=true", json=document)
        assert answer.status_code == 200, answer.text
        assert answer.json()["policy"]["obligations"] == [{"approvals": 2, "roles": ["approver", "release_manager"]}]
        ((envelope, decision_id),) = [(one.envelope, one.decision_id) for one in found]
        assert (envelope, decision_id) == ({}, "")
        assert world.sql("SELECT count(*) FROM patch") == [(0,)]

    play(scene)
