"""What a process of the control plane is made of. `bootstrap` builds it; the edges take from it what they need."""

import random
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from hms_mgt.bus import RedisBus
from hms_mgt.governance import HttpGovernance
from hms_mgt.ports import Clock, Orchestrator
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.usecases.authenticate import Authenticator
from hms_mgt.usecases.limits import Limits
from hms_mgt.usecases.review import Reviewer
from hms_svc.trust import Trust


class Parts(NamedTuple):
    """Everything a process of the control plane is made of."""

    db: Database
    bus: RedisBus
    governance: HttpGovernance
    signer: Signer
    trust: Trust
    clock: Clock
    orchestrators: dict[str, Orchestrator]
    progress_deadline: timedelta
    authenticator: Authenticator
    limits: Limits
    # Where the worker keeps the signed ends of the audit, outside the database.
    audit_witness: Path | None = None

    @property
    def reviewer(self) -> Reviewer:
        """Return what a review needs."""
        return Reviewer(self.db, self.governance, self.signer, self.clock, random.random)

    async def close(self) -> None:
        """Close what holds connections."""
        await self.bus.close()
        await self.governance.close()
        await self.authenticator.close()
        await self.db.close()
