"""Whatever happens to a service, its configuration at every instant is what the audit alone adds up to."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from random import Random

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from hms_mgt.domain.access import Actor, Role
from hms_mgt.usecases.explain import Question, explain
from tests.mgt.conftest import World
from tests.mgt.fleet import SERVICE
from tests.mgt.made_up_histories import Act, Stage, made_up
from tests.mgt.replay import Replay, Row

TICK = timedelta(microseconds=1)


def audited(stage: Stage) -> Replay:
    query = "SELECT at, action, subject, after FROM audit WHERE tenant = %s ORDER BY id"
    rows = [Row(at, action, subject, after) for at, action, subject, after in stage.world.sql(query, stage.tenant)]
    return Replay(rows, stage.tenant, SERVICE)


async def compare(stage: Stage, replay: Replay, at: datetime, now: datetime) -> None:
    actor = Actor("ada", Role.VIEWER, stage.tenant)
    for version in sorted(stage.versions):
        asked = Question(stage.tenant, SERVICE, version, None, at)
        found = await explain(stage.world.db, stage.world.trust, actor, asked, now)
        told, added_up = (
            json.dumps(one, sort_keys=True) for one in (found.configuration, replay.effective(version, at, now))
        )
        assert told == added_up, f"{version} at {at}, asked at {now}"


async def check(world: World, history: Sequence[Act]) -> None:
    stage = Stage(world)
    await stage.open()
    for act in history:
        await act.play(stage)
    replay, now = audited(stage), world.clock.now()
    instants = replay.instants()
    between = [one + (other - one) / 2 for one, other in pairwise(instants)]
    for at in {*instants, *(one - TICK for one in instants), *between, now, instants[-1] + timedelta(days=1)}:
        await compare(stage, replay, at, now)
    # What would have been said earlier about what was ahead then.
    for earlier in [one for one in instants if one < now][::2]:
        for at in [one for one in instants if one > earlier]:
            await compare(stage, replay, at, earlier)
    await stage.close()


def test_every_instant_is_what_the_audit_alone_adds_up_to(database: str) -> None:
    with asyncio.Runner() as runner:
        world = World(database)

        # Dice, for what hypothesis prefers to draw is short and all alike. The note tells which history it was.
        @settings(
            max_examples=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.explicit, Phase.reuse, Phase.generate],
        )
        @given(st.randoms(use_true_random=True))
        def whatever_happens(dice: Random) -> None:
            history = made_up(dice)
            note("\n".join(map(repr, history)))
            runner.run(check(world, history))

        try:
            whatever_happens()
        finally:
            runner.run(world.close())
