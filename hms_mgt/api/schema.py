"""The patch document in words that OpenAPI understands; the validator is what decides."""

from typing import Any

from hms_mgt.domain import ids, knobs
from hms_mgt.validator import BIGGEST_ID, LONGEST_REASON, MOST_SUPERSEDED
from hms_svc.selector import MAX_CHARS

EXAMPLE: dict[str, Any] = {
    "service": "ARTIST_REGISTRY_API",
    "version_selector": ">=2.1.0",
    "changes": {"rate_limit_rps": 200, "replicas": 6},
    "tenant": "IACB",
    "window": {"start": "now", "duration": "14d"},
}
_ID = {"type": "string", "pattern": ids.PATTERN}
_REASON = {
    "type": "string",
    "maxLength": LONGEST_REASON,
    "pattern": r"^[^\u0000-\u001f\u007f]*$",
    "description": "One line, kept in the audit",
}
_PATCH_ID = {"type": "integer", "minimum": 1, "maximum": BIGGEST_ID}
QUANTITY = r"^[0-9]{1,12}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_QUANTITY = {"type": "string", "pattern": QUANTITY}
_STEP = "[A-Za-z0-9_][A-Za-z0-9_-]{0,127}"
# RFC 3339, with the seconds left out at will.
_INSTANT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
_SELECTOR = r"^[0-9A-Za-z.+*~^<>=|, -]+$"
WINDOW: dict[str, Any] = {
    "type": ["object", "null"],
    "additionalProperties": False,
    "description": "Half-open, UTC. Left out: from now on, until rolled back",
    "properties": {
        "start": {
            "type": "string",
            "maxLength": 40,
            "pattern": f"^(now|{_INSTANT})$",
            "default": "now",
            "description": "An instant such as 2026-11-20T00:00Z, or now",
        },
        "end": {
            "type": ["string", "null"],
            "maxLength": 40,
            "pattern": f"^{_INSTANT}$",
            "description": "An instant such as 2026-12-04T00:00Z",
        },
        "duration": {
            "type": ["string", "null"],
            "maxLength": 32,
            "pattern": "^(?=[0-9])([0-9]+w)?([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?$",
            "description": "Instead of end: 14d, 12h, 1h30m, 90s; at most ten years",
        },
    },
    "not": {
        "type": "object",
        "required": ["end", "duration"],
        "properties": {"end": {"type": "string"}, "duration": {"type": "string"}},
    },
}
_CHANGES: dict[str, Any] = {
    "type": "object",
    "minProperties": 1,
    "description": "Merged into conf.yml (RFC 7386: null deletes); dotted paths reach into mappings",
    "propertyNames": {"pattern": rf"^{_STEP}(\.{_STEP}){{0,{knobs.DEEPEST - 2}}}$"},
    "properties": {
        "rate_limit_rps": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "Requests a second"},
        "replicas": {"type": "integer", "minimum": 1, "maximum": 100, "description": "Instances that run"},
        "cpu": {**_QUANTITY, "description": "Of each instance: 2 or 500m"},
        "memory": {**_QUANTITY, "description": "Of each instance: 1Gi"},
    },
    "additionalProperties": {
        "maxLength": knobs.LONGEST_TEXT,
        "pattern": r"^[^\u0000-\u0008\u000b-\u001f]*$",
        "minimum": -knobs.LARGEST_NUMBER,
        "maximum": knobs.LARGEST_NUMBER,
    },
}
PATCH: dict[str, Any] = {
    "type": "object",
    "title": "Config patch",
    "description": "A change of a service's configuration, for a time",
    "required": ["service", "version_selector", "changes", "tenant"],
    "additionalProperties": False,
    "properties": {
        "service": {**_ID, "description": "The service to change"},
        "version_selector": {
            "type": "string",
            "maxLength": MAX_CHARS,
            "pattern": _SELECTOR,
            "description": ">=2.1.0, >=2.1,<3, ~2.1, ^2, 2.1.x, *, exact; comma is and, || is or",
        },
        "changes": _CHANGES,
        "tenant": {**_ID, "description": "The tenant it is for"},
        "window": WINDOW,
        "priority": {
            "type": "integer",
            "minimum": 0,
            "maximum": 1000,
            "default": 0,
            "description": "Of two patches that set one knob the higher one decides, then the later one",
        },
        "reason": _REASON,
        "supersedes": {
            "anyOf": [
                _PATCH_ID,
                {"type": "array", "items": _PATCH_ID, "maxItems": MOST_SUPERSEDED, "uniqueItems": True},
            ],
            "description": "The patch, or the patches, that this one takes the place of",
        },
        "break_glass": {
            "type": "boolean",
            "default": False,
            "description": "For an emergency: no freeze holds it; the policy asks for more people and a short window",
        },
    },
    "examples": [EXAMPLE],
}


def body(document: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Describe a request's body, as JSON or YAML. The document's own first example is the example."""
    example = document["examples"][0]
    content = {"application/json": {"schema": document, "example": example}, "application/yaml": {"schema": document}}
    return {"requestBody": {"required": required, "content": content}}


PATCH_BODY = body(PATCH)
END_BODY = body(
    {
        "type": ["object", "null"],
        "title": "Why a patch is ended",
        "additionalProperties": False,
        "properties": {"reason": _REASON},
        "examples": [{"reason": "the market is over"}],
    },
    required=False,
)
WINDOW_BODY = body(
    {
        "type": "object",
        "title": "Another window for a patch",
        "required": ["window"],
        "additionalProperties": False,
        "properties": {"window": WINDOW, "reason": _REASON},
        "examples": [{"window": {"duration": "7d"}, "reason": "the market goes on"}],
    }
)
GO_BACK_BODY = body(
    {
        "type": "object",
        "title": "Take a stream back to an earlier revision",
        "required": ["revision"],
        "additionalProperties": False,
        "properties": {"revision": _PATCH_ID, "reason": _REASON},
        "examples": [{"revision": 12, "reason": "as it was before the market"}],
    }
)
