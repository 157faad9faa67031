"""`/api/effective`: what a service's configuration is at an instant, and why each value is what it is."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query

from hms_mgt.api import instant
from hms_mgt.api.auth import PartsOf, Reader
from hms_mgt.api.effective_views import (
    ApprovalView,
    BaseView,
    ChangeView,
    DecisionView,
    EffectiveView,
    KeyView,
    LayerView,
    PatchLayerView,
)
from hms_mgt.api.problems import responses
from hms_mgt.api.views import WindowView
from hms_mgt.domain import ids
from hms_mgt.domain.effective import ABSENT, Change, Key, Layer
from hms_mgt.domain.window import rfc3339
from hms_mgt.store.history import Base
from hms_mgt.usecases.explain import Explanation, Question, Standing, explain
from hms_svc import merge

router = APIRouter(prefix="/api/effective", tags=["effective"])


@router.get("", responses=responses(401, 404, 422, 429, 503), response_model_exclude_unset=True)
async def get_effective(  # noqa: PLR0913, PLR0917 - the question's own parts
    parts: PartsOf,
    actor: Reader,
    service: Annotated[str, Query(pattern=ids.PATTERN)],
    tenant: Annotated[
        str | None, Query(pattern=ids.PATTERN, description="The token's own where it is left out")
    ] = None,
    version: Annotated[str | None, Query(pattern="^[0-9A-Za-z.+-]{1,256}$", description="As registered")] = None,
    instance: Annotated[str | None, Query(pattern="^[^\\u0000-\\u001f\\u007f]{1,253}$")] = None,
    at: Annotated[str, Query(max_length=64, description="An RFC 3339 instant, or `now`")] = "now",
) -> EffectiveView:
    """Explain a configuration: the past as it was then, the future as it is planned now.

    The version may be left out where there is only one, and where an instance is named: then it is the instance's.
    """
    now = parts.clock.now()
    asked = Question(tenant, service, version, instance, instant.of_query("at", at, now))
    return _shown(await explain(parts.db, parts.trust, actor, asked, now))


def _shown(found: Explanation) -> EffectiveView:
    patches = {number: _patch(standing) for number, standing in found.standing.items()}
    return EffectiveView(
        **found.subject._asdict(),
        at=rfc3339(found.at),
        tense=found.tense,
        revision=found.revision,
        configuration=dict(found.configuration),
        base=_base(found.base),
        keys=[_key(key, patches) for key in found.keys],
        patches=list(found.standing),
    )


def _base(base: Base | None) -> BaseView | None:
    if base is None:
        return None
    digest = hashlib.sha256(base.conf.encode()).hexdigest()
    return BaseView(registered_at=rfc3339(base.registered_at), conf_sha256=digest)


def _patch(standing: Standing) -> dict[str, Any]:
    """Return what every layer of a patch says of it."""
    patch, status, approvals, signature = standing
    spec = patch.spec
    end = spec.window.end
    return {
        "layer": f"patch/{patch.id}",
        "patch_id": patch.id,
        "status_then": status,
        "priority": spec.priority,
        "order": patch.approval_order,
        "author": patch.author,
        "reason": spec.reason,
        "window": WindowView(start=rfc3339(spec.window.start), end=None if end is None else rfc3339(end)),
        "approvals": [ApprovalView(approver=one.approver, role=one.role, at=rfc3339(one.at)) for one in approvals],
        "decision": None if patch.decision_summary is None else _decision(patch.decision_summary),
        "signature": signature,
        "break_glass": spec.break_glass,
        "freeze_exemption": patch.freeze_exemption,
    }


def _decision(summary: Mapping[str, Any]) -> DecisionView:
    return DecisionView(**{name: str(summary[name]) for name in DecisionView.model_fields})


def _key(key: Key, patches: Mapping[int, dict[str, Any]]) -> KeyView:
    shown = [_layer(layer, key, patches) for layer in key.layers]
    return KeyView(
        path=merge.dotted(key.path),
        pointer="".join("/" + name.replace("~", "~0").replace("/", "~1") for name in key.path),
        layers=shown,
        winner=shown[-1].layer if shown else None,
        next_change=None if key.next_change is None else _change(key.next_change),
        # What was never there was not deleted.
        **(_value(key.value) if key.layers else {}),
    )


def _layer(layer: Layer, key: Key, patches: Mapping[int, dict[str, Any]]) -> LayerView:
    if layer.patch_id is None:
        return LayerView(layer="base", **_value(layer.value))
    above: dict[str, Any] = {} if layer.through == key.path else {"through": merge.dotted(layer.through)}
    return PatchLayerView(**patches[layer.patch_id], **above, **_value(layer.value))


def _change(change: Change) -> ChangeView:
    at = None if change.at is None else rfc3339(change.at)
    return ChangeView(at=at, because=change.because, **_value(change.value))


def _value(value: Any) -> dict[str, Any]:
    return {"deleted": True} if value is ABSENT else {"value": value}
