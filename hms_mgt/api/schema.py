"""The patch document in words that OpenAPI understands; the validator is what decides."""

from typing import Any

from hms_mgt.domain import ids

EXAMPLE: dict[str, Any] = {
    "service": "ARTIST_REGISTRY_API",
    "version_selector": ">=2.1.0",
    "changes": {"rate_limit_rps": 200, "replicas": 6},
    "tenant": "IACB",
    "window": {"start": "now", "duration": "14d"},
}
_ID = {"type": "string", "pattern": ids.PATTERN}
_REASON = {"type": "string", "maxLength": 500, "description": "One line, kept in the audit"}
PATCH: dict[str, Any] = {
    "type": "object",
    "title": "Config patch",
    "required": ["service", "version_selector", "changes", "tenant"],
    "additionalProperties": False,
    "properties": {
        "service": {**_ID, "description": "The service to change"},
        "version_selector": {
            "type": "string",
            "description": ">=2.1.0, >=2.1,<3, ~2.1, ^2, 2.1.x, *, exact; comma is and, || is or",
        },
        "changes": {
            "type": "object",
            "minProperties": 1,
            "description": "Merged into conf.yml (RFC 7386: null deletes); dotted paths reach into mappings",
            "properties": {
                "rate_limit_rps": {"type": "integer", "minimum": 1, "maximum": 1000},
                "replicas": {"type": "integer", "minimum": 1, "maximum": 100},
            },
        },
        "tenant": {**_ID, "description": "The tenant it is for"},
        "window": {
            "type": "object",
            "additionalProperties": False,
            "description": "Half-open, UTC. Left out: from now on, until rolled back",
            "properties": {
                "start": {"type": "string", "description": "An instant, or now"},
                "end": {"type": "string", "description": "An instant"},
                "duration": {"type": "string", "description": "Instead of end: 14d, 12h, 1h30m, 90s"},
            },
        },
        "priority": {"type": "integer", "minimum": 0, "maximum": 1000, "default": 0},
        "reason": _REASON,
    },
    "examples": [EXAMPLE],
}
PATCH_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": PATCH, "example": EXAMPLE},
            "application/yaml": {"schema": PATCH},
        },
    }
}
_END: dict[str, Any] = {
    "type": "object",
    "title": "Why a patch is ended",
    "additionalProperties": False,
    "properties": {"reason": _REASON},
    "examples": [{"reason": "the market is over"}],
}
END_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "content": {"application/json": {"schema": _END}, "application/yaml": {"schema": _END}},
    }
}
