"""Takes in what the sidecars report: the state of each instance, and receipts. Repeats change nothing."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain.report import Report, Stage, UnreadableReport, parse
from hms_mgt.domain.rollout import Instance
from hms_mgt.errors import Unavailable
from hms_mgt.ports import AckEntry
from hms_mgt.store import catalog, duties, instances, streams
from hms_mgt.store.database import Database
from hms_svc import layers, messages, wire
from hms_svc.trust import Trust

_log = structlog.get_logger()


async def take_in(db: Database, trust: Trust, tenant: str, entries: Sequence[AckEntry], now: datetime) -> None:
    """Store a batch of one tenant's reports and move the cursor behind it, in one transaction.

    The transaction sees that tenant only, so a report can speak of nobody else's patches. If the batch cannot be
    stored, its reports are tried one by one, and those that fail are passed over: none may block those behind it.
    """
    try:
        await _take_batch(db, trust, tenant, entries, now)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, it is in the reports
        _log.warning("reports cannot be stored together", tenant=tenant, error=repr(error)[:500])
        for entry in entries:
            await _take_alone(db, trust, entry, now)


async def _take_alone(db: Database, trust: Trust, entry: AckEntry, now: datetime) -> None:
    try:
        await _take_batch(db, trust, entry.tenant, [entry], now)
    except Unavailable:
        raise
    except Exception as error:  # noqa: BLE001 - passed over, and said
        _log.warning("report passed over", tenant=entry.tenant, entry=entry.entry_id, error=repr(error)[:500])
        async with db.transaction(entry.tenant) as tx:
            await instances.lock_cursor(tx, entry.tenant)
            await instances.move_cursor(tx, entry.tenant, entry.entry_id)


async def _take_batch(db: Database, trust: Trust, tenant: str, entries: Sequence[AckEntry], now: datetime) -> None:
    async with db.transaction(tenant) as tx:
        # Held to the end: of several workers that read the same entries, one stores each of them, in their order.
        cursor = instances.order(await instances.lock_cursor(tx, tenant))
        new = [entry for entry in entries if instances.order(entry.entry_id) > cursor]
        reports = [report for report in map(_read, new) if report is not None]
        known = {one.service for one in await catalog.deployments(tx, tenant)}
        confirmed = _Confirmed(tx, trust, tenant)
        for report in reports:
            if report.service in known:
                await instances.save(tx, _instance(tenant, report, await confirmed(report), now))
                await instances.add_receipts(tx, tenant, [_receipt(report, stage) for stage in report.receipts])
        if new:
            await instances.move_cursor(tx, tenant, new[-1].entry_id)
        if any(report.receipts or report.failed or report.bye for report in reports):
            await duties.wake(tx)


def _read(entry: AckEntry) -> Report | None:
    try:
        return parse(entry.body)
    except UnreadableReport as error:
        _log.warning("report refused", tenant=entry.tenant, reason=str(error)[:500])
        return None


class _Confirmed:
    """Tells whether a report's digest is right; each revision of a batch is read and verified once."""

    def __init__(self, tx: AsyncConnection, trust: Trust, tenant: str) -> None:
        self._tx, self._trust, self._tenant = tx, trust, tenant
        self._held: dict[tuple[str, int], list[messages.Patch] | None] = {}

    async def __call__(self, report: Report) -> bool:
        key = (report.service, report.revision)
        if key not in self._held:
            self._held[key] = await self._read(*key)
        held = self._held[key]
        return held is not None and digest_ok(report, held)

    async def _read(self, service: str, revision: int) -> list[messages.Patch] | None:
        entries = await streams.entries(self._tx, self._tenant, service, revision) or []
        try:
            return [messages.read_entry(entry, self._trust, self._tenant, service) for entry in entries]
        except wire.Refused:
            # Signed by a key that is no longer trusted: nothing that rests on it is confirmed.
            return None


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
        phase=report.phase,
        trouble=report.trouble,
        drift=report.drift,
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
