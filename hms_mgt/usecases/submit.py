"""Takes in a patch document: who asks, whether it may be, and one stored row that says QUEUED."""

from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from hms_mgt import validator
from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.signer import Signer
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_mgt.usecases.admit import Accepted, Origin, Proposal, admit, earlier, once


class Submission(NamedTuple):
    """A request to change configuration. `digest` identifies the body it came in."""

    document: Any
    digest: str
    idempotency_key: str | None


async def submit(db: Database, signer: Signer, actor: Actor, asked: Submission, now: datetime) -> Accepted:
    """Check a patch document and store it as QUEUED.

    Raises:
        Forbidden: the role may not submit, or the tenant is not the token's.
        Invalid: the document breaks a rule, or names an unknown tenant or service.
        Conflict: something that stands is in its way: another patch, the quota, a freeze.
        KeyReused: the Idempotency-Key came before with another body.
    """
    access.require(actor, Permission.SUBMIT)
    return await once(partial(_submit, db, signer, actor, asked, now))


async def _submit(db: Database, signer: Signer, actor: Actor, asked: Submission, now: datetime) -> Accepted:
    async with db.transaction(actor.tenant or EVERY_TENANT) as tx:
        origin = Origin(asked.digest, asked.idempotency_key)
        before = await earlier(tx, actor, origin)
        if before is not None:
            return before
        spec = validator.validate(asked.document, now)
        return await admit(tx, signer, Proposal(actor, spec, origin), now)
