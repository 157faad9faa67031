"""The steps of the control plane, as tests take them one at a time."""

from datetime import UTC, datetime, timedelta

from hms_mgt.store import catalog
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases.follow import follow
from hms_mgt.usecases.keep_time import keep_time
from hms_mgt.usecases.review import review_next
from tests.mgt.conftest import World

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
