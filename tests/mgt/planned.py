"""Patches as the pure rules meet them: made up, on a clock that counts minutes."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.patch import Patch, PatchSpec, Status
from hms_mgt.domain.window import Window

ZERO = datetime(2026, 11, 24, tzinfo=UTC)


def at(minute: int) -> datetime:
    return ZERO + timedelta(minutes=minute)


def window(start: int, end: int | None) -> Window:
    return Window(at(start), None if end is None else at(end))


def asked(changes: Mapping[str, Any], when: Window, selector: str = "*", **more: Any) -> PatchSpec:
    return PatchSpec(
        **{"service": "API", "version_selector": selector, "changes": changes, "tenant": "IACB", "window": when, **more}
    )


def standing(patch_id: int, spec: PatchSpec, order: int | None = None) -> Patch:
    status = Status.QUEUED if order is None else Status.APPLIED
    return Patch(patch_id, spec, status, "", "ann", "release_manager", ZERO, ZERO, 0, order, None, None, None, None)


def deployed(service: str = "API", version: str = "2.1.0", **base: Any) -> Deployment:
    return Deployment("IACB", service, version, "", base, "local")
