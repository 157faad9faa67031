"""Quotas and the platform cap as the API takes and shows them; `read_quota` is what decides."""

from typing import Any

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt.api import body, schema
from hms_mgt.domain.knobs import LARGEST_NUMBER
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.quota_document import KNOB_PATTERN, LONGEST_PATH, MOST_CAPS, MOST_REPLICAS, read_quota

EXAMPLE: dict[str, Any] = {"replicas": 12, "cpu": "16", "memory": "64Gi", "knobs": {"rate_limit_rps": 500}}


class BoundsView(BaseModel):
    """Upper bounds; null is no bound."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    replicas: int | None = Field(description="Of all deployments together")
    cpu: str | None = Field(description="Of all deployments together, a Kubernetes quantity")
    memory: str | None = Field(description="Of all deployments together, a Kubernetes quantity")
    knobs: dict[str, float | int] = Field(description="The most that a patch may set a knob to, by its dotted path")


def shown(bounds: Quota) -> BoundsView:
    """Show bounds."""
    return BoundsView(**bounds.bounds())


async def read(request: Request) -> Quota:
    """Read bounds from a request's body.

    Raises:
        TooLarge, UnsupportedMedia, Invalid: as the body, or as what it says.
    """
    return read_quota((await body.read(request)).document)


_QUANTITY = {"type": ["string", "null"], "pattern": schema.QUANTITY}
_BOUNDS: dict[str, Any] = {
    "type": "object",
    "title": "Upper bounds",
    "description": "They replace what there is as a whole: what is left out, or null, is no bound",
    "additionalProperties": False,
    "properties": {
        "replicas": {
            "type": ["integer", "null"],
            "minimum": 0,
            "maximum": MOST_REPLICAS,
            "description": "Of all deployments together",
        },
        "cpu": {**_QUANTITY, "description": "Of all deployments together, e.g. 16 or 14500m"},
        "memory": {**_QUANTITY, "description": "Of all deployments together, e.g. 64Gi"},
        "knobs": {
            "type": ["object", "null"],
            "maxProperties": MOST_CAPS,
            "propertyNames": {"pattern": KNOB_PATTERN, "maxLength": LONGEST_PATH},
            "additionalProperties": {"type": "number", "minimum": 0, "maximum": LARGEST_NUMBER},
            "description": "The most that a patch may set a knob to, by its dotted path",
        },
    },
    "examples": [EXAMPLE],
}
BODY = schema.body(_BOUNDS)
