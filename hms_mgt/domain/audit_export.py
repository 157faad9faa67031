"""The export of the audit: JSON lines that hold what it takes to verify it without the database.

The first line says what the export is of, then come the signed ends of the chains, then the rows, in any order.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from hms_mgt.domain import chain
from hms_mgt.domain.chain_walk import Link, link_of

_VERSION = 1


class Scope(NamedTuple):
    """What an export is of."""

    # The one tenant it is of; None when it is of all, and of the platform itself.
    tenant: str | None
    # The chains that there must be.
    chains: tuple[str, ...]
    # Whatever was written before this instant is in it; None where it does not say.
    complete_until: str | None


class Export(NamedTuple):
    """An export as it was read, whoever wrote it."""

    scope: Scope | None
    heads: list[Mapping[str, Any]]
    links: list[Link]
    # The numbers of the lines that hold nothing of the kind.
    unread: list[int]


def lines(scope: Scope, heads: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Write what stands before the rows."""
    yield json.dumps({"audit": _VERSION, **scope._asdict()})
    for head in heads:
        yield json.dumps({"head": head})


def line(row: Mapping[str, Any]) -> str:
    """Write a row."""
    return json.dumps(row)


def read(source: Iterable[str]) -> Export:
    """Read an export. Of the rows only what verifying needs is kept."""
    export = Export(None, [], [], [])
    for number, text in enumerate(source, 1):
        document = _object(text)
        if document is None:
            export.unread.append(number)
        elif "audit" in document:
            export = export._replace(scope=_scope(document))
        elif "head" in document:
            head = document["head"]
            export.heads.append(head if isinstance(head, dict) else {})
        else:
            export.links.append(link_of(document))
    return export


def _object(text: str) -> dict[str, Any] | None:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _scope(document: Mapping[str, Any]) -> Scope:
    tenant, chains = document.get("tenant"), document.get("chains")
    named = tuple(one for one in chains if isinstance(one, str)) if isinstance(chains, list) else ()
    only = tenant if isinstance(tenant, str) and tenant != chain.PLATFORM else None
    return Scope(only, named, chain.read_stamp(document.get("complete_until")))
