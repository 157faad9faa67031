"""`/schemas/patch.json`: the patch document as JSON Schema, for editors. It needs no token: it holds nothing secret."""

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from hms_mgt.api.schema import PATCH

router = APIRouter(prefix="/schemas", tags=["schema"])
PATCH_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "urn:hms:schema:patch",
    **PATCH,
}


class SchemaResponse(JSONResponse):
    """A JSON Schema."""

    media_type = "application/schema+json"


@router.get(
    "/patch.json",
    response_class=SchemaResponse,
    responses={
        200: {
            "description": "The schema",
            "content": {"application/schema+json": {"schema": {"type": "object"}, "example": PATCH_SCHEMA}},
        }
    },
)
async def get_patch_schema() -> Response:
    """Return the JSON Schema of a patch document.

    What the schema accepts the API may still refuse: for what the tenant has and may, and for what only a look at
    the whole document tells. What it refuses the API refuses, too.
    """
    return SchemaResponse(PATCH_SCHEMA, headers={"Cache-Control": "max-age=3600"})
