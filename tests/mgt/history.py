"""A history in the audit, two tenants' and the platform's, and what it takes to read and verify it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import psycopg
from nacl.signing import SigningKey

from hms_mgt.domain.chain_walk import Finding, link_of
from hms_mgt.domain.verification import Evidence, verify
from hms_mgt.signer import Signer
from hms_mgt.store import audit, catalog, trail
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.store.trail import Act

KEY = SigningKey(bytes(range(32)))
AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TENANTS = ("IACB", "VA")


def opened(url: str) -> Database:
    """The database as the application opens it."""
    return Database(url, Signer(KEY), pool_size=8)


async def act(db: Database, *acts: Act, at: datetime = AT) -> None:
    """Do some acts in one transaction."""
    async with db.transaction(EVERY_TENANT) as tx:
        for one in acts:
            await trail.audit_act(tx, one, at)


async def write(db: Database, patches: int = 5) -> list[str]:
    """Write a history, each step in its own transaction. Returns the signed ends as a witness saw them on the way."""
    async with db.transaction(EVERY_TENANT) as tx:
        for tenant in TENANTS:
            await catalog.add_tenant(tx, tenant, AT)
            await trail.audit_act(tx, Act(tenant, "operator", "tenant.registered", f"tenant/{tenant}"), AT)
    witness = await ends(db)
    for number in range(patches):
        for tenant in TENANTS:
            for order, one in enumerate(_life(tenant, number)):
                await act(db, one, at=AT + timedelta(minutes=number, microseconds=order * 137))
        cap = Act(None, "ops", "cap.changed", "platform/cap", before={"replicas": number}, after={})
        await act(db, cap, Act("VA", "ops", "denied", "POST /api/patch"), at=AT + timedelta(minutes=number))
        await act(db, Act(None, "ops", "freeze.made", f"freeze/{number}"))
        witness += await ends(db)
    return witness


async def ends(db: Database) -> list[str]:
    """The signed ends as they stand."""
    async with db.transaction(EVERY_TENANT) as tx:
        return [str(head["envelope"]) for head in await audit.heads(tx)]


async def findings(url: str, witness: Sequence[str] = ()) -> list[Finding]:
    """Verify what is in the database."""
    db = Database(url, None)
    try:
        async with db.transaction(EVERY_TENANT, still=True) as tx:
            heads, chains = await audit.heads(tx), await catalog.tenants(tx)
            links = [link_of(row) async for row in audit.everything(tx)]
    finally:
        await db.close()
    return verify(links, Evidence((KEY.verify_key,), heads, witness, chains))


def rows(connection: psycopg.Connection[Any], query: str, *values: object) -> list[Any]:
    """Ask the database as its owner."""
    return connection.execute(query.encode(), values).fetchall()


def _life(tenant: str, number: int) -> list[Act]:
    """A patch's life as the audit tells it."""
    subject = f"patch/{number}"
    spec: Mapping[str, Any] = {"service": "API", "changes": {"rate_limit_rps": 1.5 * number, "na\u00efve": "\u2603"}}
    steps = ("QUEUED", "APPROVED", "ROLLING_OUT", "APPLIED", "REVERTING", "EXPIRED")
    moves = [
        Act(
            tenant,
            "hms-mgt",
            f"patch.{after.lower()}",
            subject,
            before={"status": before},
            after={"status": after, "reason": "", "approval_order": number},
            decision_id=f"d-{number}",
        )
        for before, after in pairwise(steps)
    ]
    asked = Act(tenant, "ada", "patch.queued", subject, request_id=f"r-{number}", role="release_manager", after=spec)
    return [asked._replace(source="192.0.2.7"), *moves]
