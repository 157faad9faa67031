"""Follows patches through the fleet: to APPLIED by confirmed effect, to HALTED on a failure, and back."""

from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import rollout
from hms_mgt.domain.deployment import selects, touches_resources, wanted_resources
from hms_mgt.domain.patch import Patch, Status
from hms_mgt.domain.rollout import Replicas
from hms_mgt.ports import Clock
from hms_mgt.signer import Signer
from hms_mgt.store import catalog, instances, patches
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.each import each
from hms_mgt.usecases.move import To, move
from hms_mgt.usecases.supersede import supersede

_ACTOR = "hms-mgt"


async def follow(db: Database, signer: Signer, clock: Clock, deadline: timedelta) -> None:
    """Take every patch that is on its way one step further, if the reports allow it."""
    now = clock.now()

    async def step(tx: AsyncConnection, patch: Patch) -> None:
        await _step(tx, signer, patch, now, deadline)

    async with db.transaction(EVERY_TENANT) as tx:
        moving = await patches.moving(tx)
    await each(db, moving, step)


async def look(tx: AsyncConnection, patch: Patch, now: datetime) -> rollout.Progress:
    """Return how far a patch has come."""
    seen = await instances.of_service(tx, patch.spec.tenant, patch.spec.service)
    return rollout.progress(patch, seen, await _replicas(tx, patch, now), now)


async def _step(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime, deadline: timedelta) -> None:
    if patch.status is Status.REVERTING:
        await _finish_reverting(tx, signer, patch, now)
    elif patch.status is Status.HALTED:
        # Nobody needs to be awake for this: what halted goes back.
        to = To(Status.REVERTING, _ACTOR, patch.status_reason)
        await move(tx, signer, patch, to, now, ending=Status.ROLLED_BACK)
    elif patch.status in {Status.ROLLING_OUT, Status.APPLIED}:
        await _advance(tx, signer, patch, now, deadline)


async def _advance(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime, deadline: timedelta) -> None:
    seen = await look(tx, patch, now)
    started = patch.rollout_started_at if patch.status is Status.ROLLING_OUT else None
    halt = rollout.halt_reason(seen, started, now, deadline)
    if halt is not None:
        await move(tx, signer, patch, To(Status.HALTED, _ACTOR, halt), now)
    elif patch.status is Status.ROLLING_OUT and rollout.applied(seen):
        words = f"in effect on {len(seen.effective)} instances"
        applied = await move(tx, signer, patch, To(Status.APPLIED, _ACTOR, words), now)
        await supersede(tx, signer, applied, now)


async def _finish_reverting(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime) -> None:
    seen = await instances.of_service(tx, patch.spec.tenant, patch.spec.service)
    replicas = await _replicas(tx, patch, now)
    if rollout.reverted(patch, seen, replicas):
        ending = patch.ending or Status.ROLLED_BACK
        await move(tx, signer, patch, To(ending, _ACTOR, patch.status_reason), now)


async def _replicas(tx: AsyncConnection, patch: Patch, now: datetime) -> Replicas | None:
    """Sum what the fold asks of the orchestrators and what runs, where the patch touches resources at all."""
    if not touches_resources(patch.spec.changes):
        return None
    mine = await catalog.deployments(tx, patch.spec.tenant, patch.spec.service)
    held = await patches.in_stream(tx, patch.spec.tenant, patch.spec.service)
    scaled = [one for one in mine if one.orchestrator is not None and selects(patch, one)]
    return Replicas(
        wanted=sum(wanted_resources(one, held, now).replicas for one in scaled),
        running=sum(one.running or 0 for one in scaled),
    )
