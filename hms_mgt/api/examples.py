"""Examples of answers, by the name of their shape in the OpenAPI document: one patch and its fleet throughout."""

from typing import Any

_PATCH: dict[str, Any] = {
    "patch_id": 784,
    "status": "APPLIED",
    "status_reason": "in effect on 3 instances",
    "tenant": "IACB",
    "service": "ARTIST_REGISTRY_API",
    "version_selector": ">=2.1.0",
    "changes": {"rate_limit_rps": 200},
    "window": {"start": "2026-11-23T12:00:00Z", "end": "2026-12-07T12:00:00Z"},
    "priority": 0,
    "reason": "the market",
    "author": "release_manager-5d41402a",
    "created_at": "2026-11-23T12:00:00Z",
    "updated_at": "2026-11-23T12:00:02Z",
    "decision": {"decision_id": "0d9c", "verdict": "allow", "reasons": [], "policy_revision": "sha256:5e88"},
    "obligations": [],
    "break_glass": False,
    "supersedes": [],
    "superseded_by": None,
    "freeze_exemption": None,
    "held_until": None,
}
_INSTANCE: dict[str, Any] = {
    "instance": "artist-registry-7f9c",
    "tenant": "IACB",
    "service": "ARTIST_REGISTRY_API",
    "version": "2.1.0",
    "url": "http://10.0.3.7:8080",
    "status": "LIVE",
    "revision": 12,
    "active": [784],
    "failed": [],
    "refused": {},
    "phase": "steady",
    "trouble": "",
    "drift": [],
    "last_seen": "2026-11-23T12:00:05Z",
}
_CHANGE: dict[str, Any] = {
    "op": "replace",
    "path": "rate_limit_rps",
    "pointer": "/rate_limit_rps",
    "before": 50,
    "after": 200,
}
_USAGE: dict[str, Any] = {"at": "2026-11-23T12:00:00Z", "replicas": 3, "cpu": "1500m", "memory": "3Gi"}
_DRY_RUN: dict[str, Any] = {
    "dry_run": True,
    "accepted": True,
    "rejection": None,
    "tenant": "IACB",
    "service": "ARTIST_REGISTRY_API",
    "window": {"start": "2026-11-23T12:00:00Z", "end": "2026-12-07T12:00:00Z"},
    "refusals": [],
    "conflicts": [],
    "policy": {"verdict": "allow", "reasons": [], "obligations": [], "policy_revision": "sha256:5e88"},
    "quota": {
        "bounds": {"replicas": 12, "cpu": "16", "memory": "64Gi", "knobs": {}},
        "before": [_USAGE],
        "after": [_USAGE],
    },
    "freeze_exemption": None,
    "instances": [
        {
            "instance": "artist-registry-7f9c",
            "service": "ARTIST_REGISTRY_API",
            "version": "2.1.0",
            "hit": True,
            "reason": "",
            "changes": [_CHANGE],
        }
    ],
    "versions": [
        {
            "version": "2.1.0",
            "base_known": True,
            "before": {"rate_limit_rps": 50},
            "after": {"rate_limit_rps": 200},
            "changes": [_CHANGE],
            "diff": "-rate_limit_rps: 50\n+rate_limit_rps: 200\n",
            "shadowed": [],
        }
    ],
    "blast_radius": 0.25,
}
_DETAIL: dict[str, Any] = {
    **_PATCH,
    "progress": {
        "targeted": ["artist-registry-7f9c"],
        "effective": ["artist-registry-7f9c"],
        "failed": [],
        "overdue": [],
        "replicas": None,
        "waiting_for": "",
    },
    "approvals": [
        {
            "approver": "grace",
            "role": "approver",
            "verdict": "approve",
            "comment": "tried on staging",
            "at": "2026-11-23T12:00:01Z",
        }
    ],
    "events": [
        {
            "at": "2026-11-23T12:00:00Z",
            "from": None,
            "to": "QUEUED",
            "actor": "release_manager-5d41402a",
            "detail": "the market",
        }
    ],
    "receipts": [
        {
            "instance": "artist-registry-7f9c",
            "stage": "effective",
            "at": "2026-11-23T12:00:02Z",
            "detail": "",
        }
    ],
}
EXAMPLES: dict[str, Any] = {
    "Health": {"status": "ok"},
    "PatchView": _PATCH,
    "PatchPage": {"items": [_PATCH], "next_cursor": "Nzg0"},
    "PatchDetail": _DETAIL,
    "DryRunView": _DRY_RUN,
    "Fleet": {"items": [_INSTANCE]},
    "RevisionPage": {
        "items": [{"revision": 12, "at": "2026-11-23T12:00:00Z", "patches": [784]}],
        "next_cursor": None,
    },
    "ReturnedView": {
        "revision": 13,
        "ended": [784],
        "resubmitted": [{"was": 771, "patch_id": 785}],
        "lost": [{"patch_id": 770, "reason": "its window is over"}],
    },
}
# A stream's snapshot, signed (DSSE).
ENVELOPE: dict[str, Any] = {
    "description": "The envelope; `payload` is base64",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["payloadType", "payload", "signatures"],
                "properties": {
                    "payloadType": {"type": "string"},
                    "payload": {"type": "string"},
                    "signatures": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["keyid", "sig"],
                            "properties": {"keyid": {"type": "string"}, "sig": {"type": "string"}},
                        },
                    },
                },
            },
            "example": {
                "payloadType": "application/vnd.hms.stream+json",
                "payload": "eyJyZXZpc2lvbiI6MTJ9",
                "signatures": [{"keyid": "3b6a27bc", "sig": "ZnVsbCBvZiBlbnRyb3B5"}],
            },
        }
    },
}
