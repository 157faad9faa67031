"""What the API shows, as models, so that the OpenAPI document says it too."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hms_mgt.domain.approval import Approval
from hms_mgt.domain.patch import Patch
from hms_mgt.domain.rollout import Instance, Progress
from hms_mgt.domain.window import rfc3339
from hms_mgt.store.instances import Receipt
from hms_mgt.store.trail import Event


class ProblemItem(BaseModel):
    """One thing wrong, with a JSON pointer to the field."""

    pointer: str
    detail: str


class Problem(BaseModel):
    """An error answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: list[ProblemItem]


class WindowView(BaseModel):
    """Half-open, UTC."""

    start: str
    end: str | None


class AcceptedView(BaseModel):
    """The answer to a submitted patch."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "patch_id": 784,
                    "status": "QUEUED",
                    "tenant": "IACB",
                    "service": "ARTIST_REGISTRY_API",
                    "href": "/api/patch/784",
                }
            ]
        }
    )

    patch_id: int
    status: str
    tenant: str
    service: str
    href: str


class PatchView(BaseModel):
    """A patch and where it stands."""

    patch_id: int
    status: str
    status_reason: str
    tenant: str
    service: str
    version_selector: str
    changes: dict[str, Any]
    window: WindowView
    priority: int
    reason: str
    author: str
    created_at: str
    updated_at: str
    decision: dict[str, Any] | None = Field(description="What GOV decided: id, verdict, reasons, policy revision")
    obligations: list[Any] = Field(description="What GOV asks of people before the patch may go on")
    break_glass: bool = Field(description="Whether it was submitted as an emergency")
    supersedes: list[int]
    superseded_by: int | None
    freeze_exemption: str | None = Field(description="Why no freeze holds it")
    held_until: str | None = Field(description="While a freeze holds it: until when")


class PatchPage(BaseModel):
    """Patches, newest first."""

    items: list[PatchView]
    next_cursor: str | None


class EventView(BaseModel):
    """One step in a patch's life."""

    model_config = ConfigDict(populate_by_name=True)

    at: str
    from_: str | None = Field(alias="from")
    to: str
    actor: str
    detail: str


class ReceiptView(BaseModel):
    """What one instance reported at one stage."""

    instance: str
    stage: str
    at: str
    detail: str


class WordView(BaseModel):
    """What one person said about a patch that waited for approval."""

    approver: str
    role: str
    verdict: str
    comment: str
    at: str


class ReplicasView(BaseModel):
    """What the orchestrator was asked for and what runs."""

    wanted: int
    running: int


class ProgressView(BaseModel):
    """How far the patch is among the instances it is for."""

    targeted: list[str]
    effective: list[str]
    failed: list[str]
    overdue: list[str]
    replicas: ReplicasView | None
    waiting_for: str


class PatchDetail(PatchView):
    """A patch with its history and its receipts."""

    progress: ProgressView
    approvals: list[WordView]
    events: list[EventView]
    receipts: list[ReceiptView]


class InstanceView(BaseModel):
    """One running copy of a service with its sidecar, as last reported."""

    instance: str
    tenant: str
    service: str
    version: str
    url: str | None
    status: str
    revision: int
    active: list[int]
    failed: list[dict[str, Any]]
    refused: dict[str, int] = Field(description="Messages the sidecar refused, by reason")
    phase: str = Field(description="Where its files are: applying, steady or failed")
    trouble: str = Field(description="Why the wanted state cannot be reached where no patch is to blame")
    drift: list[str] = Field(description="Keys of conf.yml that somebody edited by hand: kept in the base, or healed")
    last_seen: str


class Fleet(BaseModel):
    """Instances, by tenant, service and id."""

    items: list[InstanceView]


def patch_fields(patch: Patch) -> dict[str, Any]:
    """Return a patch as the fields of `PatchView`."""
    spec = patch.spec
    end = spec.window.end
    return {
        "patch_id": patch.id,
        "status": patch.status,
        "status_reason": patch.status_reason,
        "tenant": spec.tenant,
        "service": spec.service,
        "version_selector": spec.version_selector,
        "changes": dict(spec.changes),
        "window": WindowView(start=rfc3339(spec.window.start), end=None if end is None else rfc3339(end)),
        "priority": spec.priority,
        "reason": spec.reason,
        "author": patch.author,
        "created_at": rfc3339(patch.created_at),
        "updated_at": rfc3339(patch.updated_at),
        "decision": None if patch.decision_summary is None else dict(patch.decision_summary),
        "obligations": list(patch.obligations),
        "break_glass": spec.break_glass,
        "supersedes": list(spec.supersedes),
        "superseded_by": patch.superseded_by,
        "freeze_exemption": patch.freeze_exemption,
        "held_until": None if patch.held_until is None else rfc3339(patch.held_until),
    }


def progress_view(seen: Progress, waiting_for: str) -> ProgressView:
    """Show how far a patch is."""
    return ProgressView(
        targeted=list(seen.targeted),
        effective=list(seen.effective),
        failed=[f"{instance}: {words}" for instance, words in seen.failed],
        overdue=list(seen.overdue),
        replicas=None if seen.replicas is None else ReplicasView(**seen.replicas._asdict()),
        waiting_for=waiting_for,
    )


def event_view(event: Event) -> EventView:
    """Show one event."""
    return EventView.model_validate(
        {
            "at": rfc3339(event.at),
            "from": event.from_status,
            "to": event.to_status,
            "actor": event.actor,
            "detail": event.detail,
        }
    )


def word_view(word: Approval) -> WordView:
    """Show what one person said about a patch."""
    return WordView(**{**word._asdict(), "at": rfc3339(word.at)})


def receipt_view(receipt: Receipt) -> ReceiptView:
    """Show one receipt."""
    return ReceiptView(instance=receipt.instance, stage=receipt.stage, at=rfc3339(receipt.at), detail=receipt.detail)


def instance_view(one: Instance, now: datetime) -> InstanceView:
    """Show one instance."""
    return InstanceView(
        instance=one.id,
        tenant=one.tenant,
        service=one.service,
        version=one.version,
        url=one.url,
        status=one.status(now),
        revision=one.revision,
        active=list(one.active),
        failed=[dict(entry) for entry in one.failed],
        refused=dict(one.refused),
        phase=one.phase,
        trouble=one.trouble,
        drift=list(one.drift),
        last_seen=rfc3339(one.last_seen),
    )
