"""Takes in what the sidecars report: the state of each instance, and receipts. Repeats change nothing."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.report import Report, Stage, UnreadableReport, parse
from hms_mgt.domain.rollout import Instance
from hms_mgt.ports import AckEntry
from hms_mgt.store import catalog, duties, instances, streams
from hms_mgt.store.database import Database
from hms_svc import layers, messages, wire

_log = structlog.get_logger()


async def take_in(db: Database, trust: wire.Trust, tenant: str, entries: Sequence[AckEntry], now: datetime) -> None:
    """Store a batch of one tenant's reports and move the cursor behind it, in one transaction.

    The transaction sees that tenant only, so a report can speak of nobody else's patches.
    """
    async with db.transaction(tenant) as tx:
        known = {one.service for one in await catalog.deployments(tx, tenant)}
        for entry in entries:
            await _take_one(tx, trust, entry, known, now)
        await instances.move_cursor(tx, tenant, entries[-1].entry_id)
        await duties.wake(tx)


async def _take_one(tx: AsyncConnection, trust: wire.Trust, entry: AckEntry, known: set[str], now: datetime) -> None:
    try:
        report = parse(entry.body)
    except UnreadableReport as error:
        _log.warning("report refused", tenant=entry.tenant, reason=str(error))
        return
    if report.service not in known:
        _log.warning("report refused", tenant=entry.tenant, reason="unknown service")
        return
    held = await streams.entries(tx, entry.tenant, report.service, report.revision) or []
    confirmed = digest_ok(report, [messages.read_entry(e, trust, entry.tenant, report.service) for e in held])
    await instances.save(tx, _instance(entry.tenant, report, confirmed, now))
    await instances.add_receipts(tx, entry.tenant, [_receipt(report, stage) for stage in report.receipts])


def _receipt(report: Report, stage: Stage) -> instances.Receipt:
    return instances.Receipt(stage.patch_id, report.instance, stage.stage, stage.at, stage.detail)


def _instance(tenant: str, report: Report, confirmed: bool, now: datetime) -> Instance:  # noqa: FBT001
    return Instance(
        id=report.instance,
        tenant=tenant,
        service=report.service,
        version=report.version,
        url=report.url,
        revision=report.revision,
        active=report.active,
        digest_ok=confirmed,
        failed=report.failed,
        refused=report.refused,
        stale=report.stale,
        last_seen=now,
        gone_at=now if report.bye else None,
    )


def digest_ok(report: Report, held: Sequence[messages.Patch]) -> bool:
    """Tell whether the reported digest is what the layers it names fold to, at the revision it names."""
    active = [patch for patch in held if patch.id in report.active]
    if len(active) != len(set(report.active)):
        return False
    return layers.effective_digest(layers.fold_order(active)) == report.digest
