"""`/api/patch/{patch_id}/approve` and `/reject`: what people say about a patch that waits for them."""

from typing import Any

from fastapi import APIRouter, Request

from hms_mgt.api import body, schema, views
from hms_mgt.api.auth import Caller, PartsOf
from hms_mgt.api.patches import PatchId, detail
from hms_mgt.api.problems import responses
from hms_mgt.domain import access
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.domain.approval import read_comment
from hms_mgt.domain.line import LONGEST
from hms_mgt.usecases import approve

router = APIRouter(prefix="/api/patch", tags=["approval"])
_PROBLEMS = responses(401, 403, 404, 409, 413, 415, 422, 429, 503)


def _word_body(title: str, example: dict[str, str], *, required: bool) -> dict[str, Any]:
    comment = {"type": "string", "maxLength": LONGEST, "description": "One line, kept in the record"}
    document = {
        "type": "object" if required else ["object", "null"],
        "title": title,
        "required": ["comment"] if required else [],
        "additionalProperties": False,
        "properties": {"comment": comment | ({"minLength": 1} if required else {})},
        "examples": [example],
    }
    return schema.body(document, required=required)


_APPROVE_BODY = _word_body("Why a patch is approved", {"comment": "tried on staging"}, required=False)
_REJECT_BODY = _word_body("Why a patch is rejected", {"comment": "not before the market is over"}, required=True)


@router.post("/{patch_id}/approve", responses=_PROBLEMS, openapi_extra=_APPROVE_BODY)
async def approve_patch(request: Request, parts: PartsOf, actor: Caller, patch_id: PatchId) -> views.PatchDetail:
    """Approve a patch that awaits approval. The last approval that is asked for lets it through."""
    asked = await _request(request, actor, patch_id, required=False)
    await approve.approve(parts.db, parts.signer, asked, parts.clock.now())
    return await detail(parts, actor, patch_id)


@router.post("/{patch_id}/reject", responses=_PROBLEMS, openapi_extra=_REJECT_BODY)
async def reject_patch(request: Request, parts: PartsOf, actor: Caller, patch_id: PatchId) -> views.PatchDetail:
    """Reject a patch that awaits approval, whoever approved it; the comment says why."""
    asked = await _request(request, actor, patch_id, required=True)
    await approve.reject(parts.db, parts.signer, asked, parts.clock.now())
    return await detail(parts, actor, patch_id)


async def _request(request: Request, actor: Actor, patch_id: int, *, required: bool) -> approve.Request:
    # The role is checked before a byte of the body is looked at, as with a submission.
    access.require(actor, Permission.APPROVE)
    comment = read_comment(await body.read_if_any(request), required=required)
    return approve.Request(actor, patch_id, comment)
