"""Carries out the resource knobs: folds what a deployment wants and asks its orchestrator for it."""

from collections.abc import Mapping

from hms_mgt.domain.deployment import Deployment, wanted_resources
from hms_mgt.ports import Clock, Orchestrator
from hms_mgt.store import catalog, duties, instances, patches
from hms_mgt.store.database import Database


async def scale(db: Database, orchestrators: Mapping[str, Orchestrator], clock: Clock, deployment: Deployment) -> None:
    """Bring one deployment a step nearer to what its base and its patches ask for.

    The advisory lock is held meanwhile, so of several workers one starts and stops processes.
    """
    orchestrator = orchestrators.get(deployment.orchestrator or "")
    if orchestrator is None:
        return
    async with db.transaction(deployment.tenant) as tx:
        if not await catalog.lock_scaling(tx, deployment):
            return
        held = await patches.in_stream(tx, deployment.tenant, deployment.service)
        wanted = wanted_resources(deployment, held, clock.now())
        running = await orchestrator.scale(deployment, wanted)
        news = await catalog.save_scale(tx, deployment, wanted.replicas, running)
        # One that was killed, hung or had no Redis said no goodbye; nothing may wait for it.
        names = [one.id for one in await instances.of_service(tx, deployment.tenant, deployment.service)]
        gone = orchestrator.gone(deployment, names)
        await instances.mark_gone(tx, deployment.tenant, gone, clock.now())
        if news or gone:
            await duties.wake(tx)
