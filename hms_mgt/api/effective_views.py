"""What `/api/effective` answers, as models, so that the OpenAPI document says it too."""

from typing import Any

from pydantic import BaseModel, Field

from hms_mgt.api.views import WindowView

_EXAMPLE: dict[str, Any] = {
    "tenant": "IACB",
    "service": "ARTIST_REGISTRY_API",
    "version": "2.1.0",
    "instance": None,
    "at": "2026-11-24T09:00:00Z",
    "tense": "past",
    "revision": 12,
    "configuration": {"rate_limit_rps": 200},
    "base": {"registered_at": "2026-11-01T08:00:00Z", "conf_sha256": "9f86d081884c7d65"},
    "keys": [
        {
            "path": "rate_limit_rps",
            "pointer": "/rate_limit_rps",
            "value": 200,
            "layers": [
                {"layer": "base", "value": 50},
                {
                    "layer": "patch/784",
                    "patch_id": 784,
                    "value": 200,
                    "status_then": "APPLIED",
                    "priority": 0,
                    "order": 31,
                    "author": "ada",
                    "reason": "the market",
                    "window": {"start": "2026-11-23T12:00:00Z", "end": "2026-11-30T12:00:00Z"},
                    "approvals": [{"approver": "grace", "role": "approver", "at": "2026-11-23T11:58:00Z"}],
                    "decision": {"decision_id": "0d9c", "verdict": "allow", "policy_revision": "sha256:5e88"},
                    "signature": "verified",
                    "break_glass": False,
                    "freeze_exemption": None,
                },
            ],
            "winner": "patch/784",
            "next_change": {"at": "2026-11-30T12:00:00Z", "value": 50, "because": "patch/784 ends"},
        }
    ],
    "patches": [784],
}
_VALUE = "Left out where the key is not there"
_DELETED = "Said, and true, where a patch took the key away"


class BaseView(BaseModel):
    """The base under all patches, as it was registered."""

    registered_at: str
    conf_sha256: str = Field(description="Of conf.yml's text, as the audit has it")


class ApprovalView(BaseModel):
    """One person's approval."""

    approver: str
    role: str
    at: str


class DecisionView(BaseModel):
    """What GOV decided, and by which policy."""

    decision_id: str
    verdict: str
    policy_revision: str


class LayerView(BaseModel):
    """What one layer made of a key. The base says no more than that."""

    layer: str = Field(description="`base`, or `patch/` and the id")
    value: Any = Field(default=None, description=_VALUE)
    deleted: bool = Field(default=False, description=_DELETED)


class PatchLayerView(LayerView):
    """What one patch made of a key, who wants it, and who allowed it."""

    patch_id: int
    through: str = Field(default="", description="Where the patch sets a path above the key: that path")
    status_then: str
    priority: int
    order: int | None = Field(description="The place in the order of approvals")
    author: str
    reason: str
    window: WindowView
    approvals: list[ApprovalView]
    decision: DecisionView | None
    signature: str = Field(
        description="`verified`, `unsigned`, `altered` (GOV signed something else), or why it is refused"
    )
    break_glass: bool
    freeze_exemption: str | None = Field(description="Why no freeze holds it; null where one would")


class ChangeView(BaseModel):
    """The next change of a key, as planned."""

    at: str | None = Field(description="Null where it is due already and no clock says when it is done")
    value: Any = Field(default=None, description=_VALUE)
    deleted: bool = Field(default=False, description="Said, and true, where the key is not there any more then")
    because: str


class KeyView(BaseModel):
    """One key with its layers in the order they are folded."""

    path: str = Field(description="Dotted; a name with a dot of its own stands in quotes")
    pointer: str = Field(description="The same as a JSON pointer")
    value: Any = Field(default=None, description=_VALUE)
    deleted: bool = Field(default=False, description=_DELETED)
    layers: list[PatchLayerView | LayerView]
    winner: str | None = Field(description="The last layer; null where the key is only to come")
    next_change: ChangeView | None


class EffectiveView(BaseModel):
    """The effective configuration at an instant, and why."""

    tenant: str
    service: str
    version: str
    instance: str | None
    at: str
    tense: str = Field(description="`past`, `present` or `future`, by MGT's clock")
    revision: int | None = Field(description="The stream's then; null where it had none yet, and for the future")
    configuration: dict[str, Any]
    base: BaseView | None = Field(description="Null where none was registered yet: patches fold over nothing then")
    keys: list[KeyView]
    patches: list[int] = Field(description="Those in force, in the order they are folded")

    model_config = {"json_schema_extra": {"examples": [_EXAMPLE]}}
