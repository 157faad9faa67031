"""`/api/token`: the service tokens there are, and the end of one. They are made by operators, on the machine itself."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt.api import cursor
from hms_mgt.api.auth import Caller, PartsOf
from hms_mgt.api.problems import responses
from hms_mgt.domain import ids
from hms_mgt.domain.window import rfc3339
from hms_mgt.store.tokens import KnownToken
from hms_mgt.usecases.tokens import list_tokens, revoke_token

router = APIRouter(prefix="/api/token", tags=["token"])
# What the database can hold of text.
_NAME = "^[^\x00]+$"
_LONGEST = 255
_EXAMPLE: dict[str, Any] = {
    "name": "release_manager-5d41402a",
    "role": "release_manager",
    "tenant": "IACB",
    "created_at": "2026-11-20T09:00:00Z",
    "expires_at": "2027-02-18T09:00:00Z",
    "last_used_at": "2026-11-23T12:00:00Z",
    "revoked_at": None,
}
TokenName = Annotated[
    str, Path(min_length=1, max_length=_LONGEST, pattern=_NAME, description="What the token is named in the audit")
]


class TokenView(BaseModel):
    """A service token; never the token itself, of which only a hash is kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: str
    role: str
    tenant: str | None = Field(description="null: every tenant")
    created_at: str
    expires_at: str | None
    last_used_at: str | None = Field(description="To the minute")
    revoked_at: str | None


class TokenPage(BaseModel):
    """Service tokens, by name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE], "next_cursor": None}]})

    items: list[TokenView]
    next_cursor: str | None


@router.get("", responses=responses(401, 403, 422, 429, 503))
async def get_tokens(  # noqa: PLR0913, PLR0917 - what a listing is asked with
    request: Request,
    response: Response,
    parts: PartsOf,
    actor: Caller,
    tenant: Annotated[str | None, Query(pattern=ids.PATTERN)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Annotated[
        str | None,
        Query(alias="cursor", max_length=_LONGEST, pattern=_NAME, description="`next_cursor` of the page before"),
    ] = None,
) -> TokenPage:
    """List the service tokens, revoked and expired ones too."""
    found = await list_tokens(parts.db, actor, tenant, after or "", limit + 1)
    following = found[limit - 1].name if len(found) > limit else None
    cursor.link(request, response, following)
    return TokenPage(items=[_view(one) for one in found[:limit]], next_cursor=following)


@router.post("/{name}/revoke", responses=responses(401, 403, 404, 422, 429, 503))
async def post_revoke(parts: PartsOf, actor: Caller, name: TokenName) -> TokenView:
    """Revoke a token: within 5 seconds it is good for nothing on any replica. Twice is once."""
    return _view(await revoke_token(parts.db, actor, name, parts.clock.now()))


def _view(one: KnownToken) -> TokenView:
    shown = {name: rfc3339(value) if isinstance(value, datetime) else value for name, value in one._asdict().items()}
    return TokenView.model_validate(shown)
