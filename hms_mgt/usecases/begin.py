"""Begins approved patches when their windows do, unless a freeze holds them.

Only this asks about freezes once a patch is stored: what is in force stays so, and what ends or goes back does so
whatever is frozen.
"""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import freeze
from hms_mgt.domain.freeze import Freeze
from hms_mgt.domain.patch import GOING_ON, Patch, Status
from hms_mgt.domain.window import rfc3339
from hms_mgt.signer import Signer
from hms_mgt.store import freezes, patches, trail
from hms_mgt.usecases.move import To, move
from hms_mgt.usecases.supersede import supersede

_ACTOR = "hms-mgt"


async def let_through(
    tx: AsyncConnection, signer: Signer, patch: Patch, to: To, now: datetime, **columns: Any
) -> Patch:
    """Take a patch to APPROVED, withdraw what is only planned and superseded by it, and let it begin."""
    order = await patches.next_approval_order(tx)
    to = to._replace(reason=marked(patch, to.reason))
    approved = await move(tx, signer, patch, to, now, approval_order=order, **columns)
    await supersede(tx, signer, approved, now)
    return await begin(tx, signer, approved, now)


async def begin(tx: AsyncConnection, signer: Signer, patch: Patch, now: datetime) -> Patch:
    """Start an approved patch's rollout, or leave it SCHEDULED while its window has not begun or a freeze holds it."""
    if not patch.spec.window.started(now):
        to = To(Status.SCHEDULED, _ACTOR, f"starts at {rfc3339(patch.spec.window.start)}")
        return await move(tx, signer, patch, to, now)
    concerning = await freezes.of_tenant(tx, patch.spec.tenant, now)
    asking = patch._replace(freeze_exemption=await _exemption(tx, patch))
    binding = [one for one in concerning if freeze.exemption_of(one, asking) is None]
    held_by = freeze.holding(binding, now)
    if held_by is not None:
        hold = _Hold(freeze.free_from(binding, now), held_by, asking.freeze_exemption)
        return await _hold(tx, signer, patch, hold, now)
    passed = freeze.holding(concerning, now)
    why = asking.freeze_exemption if passed is None else freeze.exemption_of(passed, asking)
    return await _send(tx, signer, patch, _Pass(passed, why), now)


async def _exemption(tx: AsyncConnection, patch: Patch) -> str | None:
    """Return what a patch is exempted for. Taking the place of one in force is no reason once that one has gone."""
    for old in await patches.several(tx, patch.spec.supersedes):
        if patch.freeze_exemption == freeze.going_on(old.id) and old.status not in GOING_ON:
            return None
    return patch.freeze_exemption


def marked(patch: Patch, words: str) -> str:
    """Say of a break-glass patch that it is one, wherever it goes on."""
    return f"break-glass: {words}" if patch.spec.break_glass else words


class _Pass(NamedTuple):
    """The freeze that is on without holding the patch, if there is one, and why no freeze holds it."""

    freeze: Freeze | None
    why: str | None


async def _send(tx: AsyncConnection, signer: Signer, patch: Patch, passed: _Pass, now: datetime) -> Patch:
    """Send a patch to the sidecars; if it passes a freeze, why is put on record."""
    words = "sent to the sidecars"
    if passed.freeze is not None:
        words += f"; freeze {passed.freeze.id} does not hold it: {passed.why}"
    columns = {"rollout_started_at": now, "held_until": None, "freeze_exemption": passed.why}
    return await move(tx, signer, patch, To(Status.ROLLING_OUT, _ACTOR, marked(patch, words)), now, **columns)


class _Hold(NamedTuple):
    """How long a patch is held, and by which freeze now; another may follow that one."""

    until: datetime
    freeze: Freeze
    # What the patch is exempted for, which does not count here.
    exemption: str | None

    @property
    def words(self) -> str:
        return f"held by freeze {self.freeze.id} until {rfc3339(self.until)}: {self.freeze.reason}"


async def _hold(tx: AsyncConnection, signer: Signer, patch: Patch, hold: _Hold, now: datetime) -> Patch:
    """Leave a patch SCHEDULED until no freeze holds it any more; one that is SCHEDULED already stays so, on record."""
    columns = {"held_until": hold.until, "freeze_exemption": hold.exemption}
    if patch.status is not Status.SCHEDULED:
        return await move(tx, signer, patch, To(Status.SCHEDULED, _ACTOR, hold.words), now, **columns)
    tenant = patch.spec.tenant
    await trail.add_event(tx, tenant, patch.id, trail.Event(now, patch.status, patch.status, _ACTOR, hold.words))
    before = {
        "status": patch.status,
        "held_until": patch.held_until and rfc3339(patch.held_until),
        "freeze_exemption": patch.freeze_exemption,
    }
    after = {**before, **columns, "held_until": rfc3339(hold.until), "reason": hold.words}
    act = trail.Act(tenant, _ACTOR, "patch.held", f"patch/{patch.id}", before=before, after=after)
    await trail.audit_act(tx, act, now)
    return await patches.set_status(tx, patch, patch.status, hold.words, now, **columns) or patch
