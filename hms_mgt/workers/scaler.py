"""Keeps each deployment at the resources its configuration asks for."""

from collections.abc import Mapping

from hms_mgt.ports import Clock, Orchestrator
from hms_mgt.store import catalog
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.scale import scale

_LOOK_EVERY_S = 0.5


async def step(db: Database, orchestrators: Mapping[str, Orchestrator], clock: Clock) -> float:
    """Bring every deployment a step nearer to what it wants."""
    async with db.transaction(EVERY_TENANT) as tx:
        deployments = await catalog.deployments(tx)
    failures: list[Exception] = []
    for deployment in deployments:
        try:
            await scale(db, orchestrators, clock, deployment)
        except Exception as error:  # noqa: BLE001 - raised below: one deployment's trouble is no other's
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} of {len(deployments)} deployments were not scaled", failures)
    return _LOOK_EVERY_S
