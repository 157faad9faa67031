"""Reads the sidecars' reports from Redis into the database."""

import asyncio
from collections import defaultdict
from datetime import timedelta

import structlog

from hms_mgt.ports import AckEntry, Bus, Clock
from hms_mgt.store import catalog, instances
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.take_in import take_in
from hms_svc.trust import Trust

_BLOCK_MS = 1000
# Entry ids are times. One from further ahead was made up, or by a broker whose clock was wrong; behind it every
# honest report would be overlooked.
_AHEAD = timedelta(minutes=1)
_log = structlog.get_logger()


async def step(db: Database, bus: Bus, trust: Trust, clock: Clock) -> float:
    """Wait up to a second for reports and store them. Tenants that are new are read from then on."""
    async with db.transaction(EVERY_TENANT) as tx:
        cursors = dict.fromkeys(await catalog.tenants(tx), instances.BEGINNING)
        cursors |= await instances.cursors(tx)
    if not cursors:
        return 1.0
    by_tenant: dict[str, list[AckEntry]] = defaultdict(list)
    for entry in await bus.read_acks(cursors, _BLOCK_MS):
        by_tenant[entry.tenant].append(entry)
    taken = [_take(db, bus, trust, clock, entries) for entries in by_tenant.values()]
    # What goes wrong with one tenant's reports holds up no other's.
    failures = [one for one in await asyncio.gather(*taken, return_exceptions=True) if one is not None]
    if failures:
        raise BaseExceptionGroup("reports were not taken in", failures)
    return 0.0


async def _take(db: Database, bus: Bus, trust: Trust, clock: Clock, entries: list[AckEntry]) -> None:
    tenant, last, now = entries[-1].tenant, entries[-1].entry_id, clock.now()
    if instances.order(last)[0] > (now + _AHEAD).timestamp() * 1000:
        _log.warning("reports from the future dropped", tenant=tenant, entry=last)
        await bus.drop_acks(tenant)
        return
    await take_in(db, trust, tenant, entries, now)
    await bus.trim_acks(tenant, last)
