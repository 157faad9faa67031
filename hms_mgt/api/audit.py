"""`/api/audit`: who did what, when, from where; pages for people, exports for programs."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from hms_mgt.api import cursor, instant
from hms_mgt.api.auth import Caller, PartsOf
from hms_mgt.api.problems import responses
from hms_mgt.domain import access, chain
from hms_mgt.domain.access import Actor, Permission
from hms_mgt.parts import Parts
from hms_mgt.store import audit
from hms_mgt.store.audit import Filters
from hms_mgt.store.database import EVERY_TENANT

router = APIRouter(prefix="/api/audit", tags=["audit"])
_BATCH = 1000
_TENANT = r"^(\*|[A-Za-z0-9][A-Za-z0-9_-]{0,62})$"
# No control characters: none of the columns holds any.
_LINE = r"^[^\x00-\x1f\x7f]*$"
_INSTANT = "An instant such as 2026-11-20T00:00Z"
_EXAMPLE: dict[str, Any] = {
    "id": 4711,
    "chain": "IACB",
    "seq": 17,
    "at": "2026-11-23T12:00:00.000000Z",
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
    "hash": "9604e1c7086617a23f88d6c400decf9be96d1cc0f1868be101b01122792cd827",
    "checksums": "5f04efb75f04c14b9720fc4ffc4ff986204dfc4fb3d73ab7fc4ffc4f",
}
_HEAD: dict[str, Any] = {
    "chain": "IACB",
    "seq": 17,
    "hash": _EXAMPLE["hash"],
    "at": _EXAMPLE["at"],
    "envelope": '{"payloadType":"application/vnd.hms.audit-head+json","payload":"...","signatures":[]}',
}


class Format(StrEnum):
    """How rows are written."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class EntryView(BaseModel):
    """One row of the audit. Rows from before there were chains have no place in one."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    id: int
    chain: str | None = Field(description="The tenant, or `*` for what concerns no single one")
    seq: int | None = Field(description="The row's number in its chain, from 1")
    at: str
    tenant: str | None
    actor: str
    role: str | None
    source: str | None = Field(description="The address it came from, `local` on the machine itself, null: by itself")
    action: str
    subject: str
    before: Any = Field(description="What changed of the subject, as it was")
    after: Any = Field(description="What changed of the subject, as it is since")
    detail: Any
    decision_id: str | None
    request_id: str | None
    hash: str | None = Field(description="Of this row and, through the row before it, of all before it")
    checksums: str | None = Field(description="A few digits for each column")


class AuditPage(BaseModel):
    """Rows, newest first."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_EXAMPLE], "next_cursor": None}]})

    items: list[EntryView]
    next_cursor: str | None


class HeadView(BaseModel):
    """Where a chain ends."""

    chain: str
    seq: int
    hash: str
    at: str | None
    envelope: str = Field(description="The same, signed by MGT: a DSSE envelope as JSON text")


class Heads(BaseModel):
    """Where each chain ends that the caller may see."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"items": [_HEAD]}]})

    items: list[HeadView]


class Asked(BaseModel):
    """What rows are asked for, and how. A page at a time as JSON; all of them as JSONL and CSV."""

    format: Format = Field(default=Format.JSON, description="jsonl and csv: all rows asked for, oldest first")
    tenant: str | None = Field(default=None, pattern=_TENANT, description="`*`: what concerns no single tenant")
    actor: str | None = Field(default=None, max_length=255, pattern=_LINE)
    action: str | None = Field(
        default=None, max_length=255, pattern=_LINE, description="`patch.applied`, or `patch.*`: all that begin so"
    )
    subject: str | None = Field(
        default=None, max_length=255, pattern=_LINE, description="`patch/784`, or `token/*`: all that begin so"
    )
    since: str | None = Field(default=None, max_length=40, description=f"{_INSTANT}; from then on")
    until: str | None = Field(default=None, max_length=40, description=f"{_INSTANT}; before then")
    request_id: str | None = Field(default=None, max_length=64, pattern=_LINE)
    limit: int = Field(default=50, ge=1, le=200, description="Of a page")
    cursor: str | None = Field(default=None, max_length=64, description="`next_cursor` of the page before")


async def _auditor(actor: Caller) -> Actor:
    access.require(actor, Permission.READ_AUDIT)
    return actor


Auditor = Annotated[Actor, Depends(_auditor)]
_FORMATS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The rows",
        "content": {
            "application/x-ndjson": {"schema": {"type": "string"}, "example": json.dumps(_EXAMPLE) + "\n"},
            "text/csv": {"schema": {"type": "string"}, "example": ",".join(EntryView.model_fields) + "\r\n"},
        },
    }
}


@router.get("", response_model=AuditPage, responses={**responses(401, 403, 422, 429, 503), **_FORMATS})
async def read_audit(
    request: Request, response: Response, parts: PartsOf, actor: Auditor, asked: Annotated[Asked, Query()]
) -> AuditPage | Response:
    """Show the audit: a page, newest first; or export all that is asked for, oldest first."""
    filters = _filters(asked, parts)
    if asked.format is not Format.JSON:
        return await _export(parts, actor, filters, asked.format)
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        found = await audit.page(tx, filters, cursor.read(asked.cursor), asked.limit + 1)
    more = cursor.write(found[asked.limit - 1]["id"]) if len(found) > asked.limit else None
    cursor.link(request, response, more)
    return AuditPage(items=[EntryView(**row) for row in found[: asked.limit]], next_cursor=more)


@router.get("/head", responses=responses(401, 403, 429, 503))
async def read_heads(parts: PartsOf, actor: Auditor) -> Heads:
    """Show where the chains end, signed. Who keeps these sees later that nothing before them was touched."""
    async with parts.db.transaction(actor.tenant or EVERY_TENANT) as tx:
        return Heads(items=[HeadView(**head) for head in await audit.heads(tx)])


def _filters(asked: Asked, parts: Parts) -> Filters:
    given = {"since": asked.since, "until": asked.until}
    now = parts.clock.now()
    instants = {name: instant.of_query(name, text, now) for name, text in given.items() if text is not None}
    return Filters(asked.tenant, asked.actor, asked.action, asked.subject, request_id=asked.request_id, **instants)


async def _export(parts: Parts, actor: Actor, filters: Filters, form: Format) -> Response:
    """Stream all rows asked for, each batch read in a transaction of its own: a slow reader holds up nobody."""

    async def batch(after: int) -> list[dict[str, Any]]:
        async with parts.db.transaction(scope) as tx:
            return await audit.batch(tx, filters, after, newest, _BATCH)

    async def text(rows: list[dict[str, Any]]) -> AsyncIterator[str]:
        yield begin
        while rows:
            yield write(rows)
            rows = await batch(rows[-1]["id"])

    begin, write, media = _WRITERS[form]
    scope = actor.tenant or EVERY_TENANT
    async with parts.db.transaction(scope) as tx:
        # What comes after this is left to the next export: behind a row of one chain, an older one of another may
        # still be on its way, and no chain may be shown with a gap.
        newest = await audit.newest(tx)
    # What goes wrong with the first batch can still be told as a problem.
    stream = text(await batch(0))
    name = f'attachment; filename="audit.{form}"'
    return StreamingResponse(stream, media_type=media, headers={"Content-Disposition": name})


def _jsonl(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    target = io.StringIO()
    csv.writer(target).writerows([_cell(row[name], name) for name in EntryView.model_fields] for row in rows)
    return target.getvalue()


def _cell(value: Any, name: str) -> str:
    """Return a cell that a spreadsheet takes for text, whatever it begins with."""
    if value is None:
        return ""
    text = json.dumps(value) if name in chain.JSON_COLUMNS else str(value)
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


_WRITERS: Mapping[Format, tuple[str, Callable[[Sequence[Mapping[str, Any]]], str], str]] = {
    Format.JSONL: ("", _jsonl, "application/x-ndjson"),
    Format.CSV: (",".join(EntryView.model_fields) + "\r\n", _csv, "text/csv; charset=utf-8"),
}
