"""What the API answers besides patches, for the fake to say. `test_cli_contract` holds it to the API."""

from typing import Any

START, END = "2026-11-24T00:00:00Z", "2026-12-01T00:00:00Z"
CONFLICT = {
    "patch_id": 783,
    "knobs": ["rate_limit_rps"],
    "versions": ["2.1.0", "2.2.0"],
    "overlap": {"start": START, "end": END},
}
NEXT_FREE = {"start": END, "end": "2026-12-08T00:00:00Z"}
EXCESS = {"resource": "replicas", "at": START, "wanted": "14", "bound": "12", "over": "2", "whose": "quota"}
FREEZE = {"id": 3, "tenant": "IACB", "ends_at": "2027-01-04T06:00:00Z", "reason": "holidays"}
DIFF = """\
--- conf.yml before
+++ conf.yml after
@@ -1,2 +1,2 @@
-rate_limit_rps: 50
+rate_limit_rps: 200
 replicas: 3
"""


def change() -> dict[str, Any]:
    """One value that would change."""
    return {
        "op": "replace",
        "path": "rate_limit_rps",
        "pointer": "/rate_limit_rps",
        "before": 50,
        "after": 200,
    }


def effect(version: str = "2.1.0", **other: Any) -> dict[str, Any]:
    """What a patch would do to one version."""
    return {
        "version": version,
        "base_known": True,
        "before": {"rate_limit_rps": 50, "replicas": 3},
        "after": {"rate_limit_rps": 200, "replicas": 3},
        "changes": [change()],
        "diff": DIFF,
        "shadowed": [],
        **other,
    }


def reach(name: str, reason: str = "", version: str = "2.1.0") -> dict[str, Any]:
    """One instance, hit unless a reason says why not."""
    hit = {"hit": not reason, "reason": reason, "changes": [] if reason else [change()]}
    return {"instance": name, "service": "ARTIST_REGISTRY_API", "version": version, **hit}


def usage(at: str, replicas: int, **other: Any) -> dict[str, Any]:
    """What a tenant asks for from an instant on."""
    return {"at": at, "replicas": replicas, "cpu": "0", "memory": "0", **other}


def refusal(code: str, detail: str, *fields: tuple[str, str], **facts: Any) -> dict[str, Any]:
    """One reason why a patch would not be taken in."""
    errors = [{"pointer": pointer, "detail": words} for pointer, words in fields]
    return {"code": code, "detail": detail, "errors": errors, "facts": facts}


def rehearsal(**other: Any) -> dict[str, Any]:
    """A dry run: two of three instances of one version get another limit."""
    return {
        "dry_run": True,
        "accepted": True,
        "tenant": "IACB",
        "service": "ARTIST_REGISTRY_API",
        "window": {"start": START, "end": END},
        "refusals": [],
        "conflicts": [],
        "rejection": None,
        "policy": {
            "verdict": "allow",
            "reasons": [],
            "obligations": [],
            "policy_revision": "sha256:572504cf64005eead57",
        },
        "quota": {
            "bounds": {"replicas": 12, "cpu": None, "memory": None, "knobs": {}},
            "before": [usage(START, 3)],
            "after": [usage(START, 3)],
        },
        "freeze_exemption": None,
        "instances": [reach("pod-1"), reach("pod-2"), reach("pod-3", "version: 1.0 does not match >=2.1.0", "1.0")],
        "versions": [effect()],
        "blast_radius": 0.6667,
        **other,
    }


def effective(**other: Any) -> dict[str, Any]:
    """The configuration of a service in which one patch decides one key and takes another away."""
    layer = {
        "layer": "patch/784",
        "patch_id": 784,
        "value": 200,
        "status_then": "APPLIED",
        "priority": 0,
        "order": 31,
        "author": "ada",
        "reason": "the market",
        "window": {"start": START, "end": END},
        "approvals": [{"approver": "grace", "role": "approver", "at": START}],
        "decision": {"decision_id": "0d9c", "verdict": "allow", "policy_revision": "sha256:5e88"},
        "signature": "verified",
        "break_glass": False,
        "freeze_exemption": None,
    }
    gone = {name: value for name, value in layer.items() if name != "value"} | {"deleted": True, "through": "log"}
    return {
        "tenant": "IACB",
        "service": "ARTIST_REGISTRY_API",
        "version": "2.1.0",
        "instance": None,
        "at": "2026-11-24T09:00:00Z",
        "tense": "past",
        "revision": 12,
        "configuration": {"rate_limit_rps": 200, "replicas": 3},
        "base": {"registered_at": "2026-11-01T08:00:00Z", "conf_sha256": "9f86d081884c7d65"},
        "keys": [
            {
                "path": "log.level",
                "pointer": "/log/level",
                "deleted": True,
                "layers": [{"layer": "base", "value": "info"}, gone],
                "winner": "patch/784",
                "next_change": None,
            },
            {
                "path": "rate_limit_rps",
                "pointer": "/rate_limit_rps",
                "value": 200,
                "layers": [{"layer": "base", "value": 50}, layer],
                "winner": "patch/784",
                "next_change": {"at": END, "value": 50, "because": "patch/784 ends"},
            },
            {
                "path": "replicas",
                "pointer": "/replicas",
                "value": 3,
                "layers": [{"layer": "base", "value": 3}],
                "winner": "base",
                "next_change": None,
            },
        ],
        "patches": [784],
        **other,
    }


def freeze(freeze_id: int = 3, **other: Any) -> dict[str, Any]:
    """A freeze of a tenant over the holidays."""
    return {
        "freeze_id": freeze_id,
        "tenant": "IACB",
        "start": "2026-12-18T18:00:00Z",
        "end": "2027-01-04T06:00:00Z",
        "reason": "nobody is at work over the holidays",
        "except_roles": ["platform_admin"],
        "created_by": "ops",
        "created_at": "2026-11-23T12:00:00Z",
        "lifted_at": None,
        "lifted_by": None,
        **other,
    }


def quota(**other: Any) -> dict[str, Any]:
    """A tenant's quota below a platform cap."""
    return {
        "tenant": "IACB",
        "replicas": 12,
        "cpu": None,
        "memory": "64Gi",
        "knobs": {"rate_limit_rps": 500},
        "platform": {"replicas": 100, "cpu": None, "memory": None, "knobs": {"rate_limit_rps": 1000, "burst": 50}},
        "usage": {"replicas": 6, "cpu": "3", "memory": "6Gi"},
        **other,
    }


def entry(number: int = 4711, **other: Any) -> dict[str, Any]:
    """One row of the audit."""
    return {
        "id": number,
        "chain": "IACB",
        "seq": 17,
        "at": "2026-11-23T12:00:00.120000Z",
        "tenant": "IACB",
        "actor": "ada",
        "role": "release_manager",
        "source": "192.0.2.7",
        "action": "patch.cancelled",
        "subject": "patch/784",
        "before": {"status": "SCHEDULED"},
        "after": {"status": "CANCELLED", "reason": "the market is over"},
        "detail": {},
        "decision_id": None,
        "request_id": "5f0c9d7e11aa42b0",
        "hash": "9604e1c7",
        "checksums": "5f04",
        **other,
    }


def revision(number: int, *patches: int) -> dict[str, Any]:
    """One revision of a stream."""
    return {"revision": number, "at": START, "patches": list(patches)}


def returned(**other: Any) -> dict[str, Any]:
    """A stream that went back: one patch ended, one submitted anew."""
    return {"revision": 14, "ended": [785], "resubmitted": [{"was": 784, "patch_id": 790}], "lost": [], **other}
