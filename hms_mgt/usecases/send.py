"""Sends what waits in the outbox, and keeps Redis' copy of the streams whole. Only this publishes."""

from collections import defaultdict
from datetime import timedelta

from hms_mgt import failpoint
from hms_mgt.ports import Bus, Clock
from hms_mgt.signer import Signer
from hms_mgt.store import catalog, duties, streams
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.advance import renew
from hms_svc import messages

HEARTBEAT_EVERY = timedelta(seconds=5)
HEAL_EVERY = timedelta(seconds=2)


async def send_pending(db: Database, bus: Bus, clock: Clock) -> None:
    """Publish every waiting delta, the streams in any order, the deltas of one stream in theirs."""
    async with db.transaction(EVERY_TENANT) as tx:
        waiting = await streams.pending_streams(tx)
    for tenant, service in waiting:
        failpoint.reach("outbox.committed")
        await _send_stream(db, bus, clock, tenant, service)


async def _send_stream(db: Database, bus: Bus, clock: Clock, tenant: str, service: str) -> None:
    async with db.transaction(tenant) as tx:
        if not await streams.lock_for_publishing(tx, tenant, service):
            return
        deltas = await streams.pending(tx, tenant, service)
        head = await streams.head(tx, tenant, service)
        if not deltas or head is None:
            return
        # The snapshot first: who misses the delta and looks for the state finds the new one.
        await bus.put_snapshot(tenant, service, head.snapshot)
        for delta in deltas:
            await bus.publish(tenant, delta.delta)
        failpoint.reach("outbox.published")
        await streams.mark_published(tx, deltas, clock.now())


async def heal(db: Database, bus: Bus, signer: Signer, clock: Clock) -> None:
    """Rewrite every snapshot that Redis lost or holds in another form, or that other keys signed than sign now."""
    async with db.transaction(EVERY_TENANT) as tx:
        if not await duties.take(tx, "heal", HEAL_EVERY, clock.now()):
            return
        heads = await streams.heads(tx)
    stored = await bus.snapshots([(head.tenant, head.service) for head in heads])
    for head, copy in zip(heads, stored, strict=True):
        if not signer.signs_like(head.snapshot):
            async with db.transaction(head.tenant) as tx:
                await renew(tx, signer, (head.tenant, head.service), clock.now())
            await _restore(db, bus, head.tenant, head.service)
        elif copy != head.snapshot:
            await _restore(db, bus, head.tenant, head.service)


async def _restore(db: Database, bus: Bus, tenant: str, service: str) -> None:
    async with db.transaction(tenant) as tx:
        if await streams.lock_for_publishing(tx, tenant, service):
            head = await streams.head(tx, tenant, service)
            if head is not None:
                await bus.put_snapshot(tenant, service, head.snapshot)


async def heartbeat(db: Database, bus: Bus, signer: Signer, clock: Clock) -> None:
    """Tell every tenant's sidecars, signed, where their streams stand: what makes silence noticeable."""
    now = clock.now()
    async with db.transaction(EVERY_TENANT) as tx:
        if not await duties.take(tx, "heartbeat", HEARTBEAT_EVERY, now):
            return
        tenants = await catalog.tenants(tx)
        heads = await streams.heads(tx)
    by_tenant: dict[str, dict[str, int]] = defaultdict(dict)
    for head in heads:
        by_tenant[head.tenant][head.service] = head.revision
    for tenant in tenants:
        payload = messages.heartbeat_payload(tenant, now.timestamp(), by_tenant[tenant])
        await bus.publish(tenant, signer.stream_message(payload))
