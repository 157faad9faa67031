"""An effective configuration told: each key with its value and why, or one key with all its layers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from rich.console import Group, RenderableType
from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, facts, table
from hms_cli.output import Result
from hms_cli.views.detail import SHORT

Effective: TypeAlias = Mapping[str, Any]
Key: TypeAlias = Mapping[str, Any]


def keys(found: Effective) -> Result:
    """Every key with its value, who wins and what comes next."""
    every = sorted(found.get("keys") or [], key=lambda key: str(key.get("path")))
    return Result(found, _names(every), lambda width: table(_columns(every), width))


def layers(found: Effective, wanted: Sequence[Key]) -> Result:
    """Some keys with their layers, in the order in which they are folded: the last one wins."""
    return Result({**found, "keys": wanted}, _names(wanted), lambda _width: Group(*map(_story, wanted)))


def named(found: Effective, name: str) -> list[Key]:
    """The keys of this name, dotted or a JSON pointer, and those below it."""
    every = found.get("keys") or []
    path, pointer = name.rstrip("."), name.rstrip("/")
    return [one for one in every if _at(one.get("path"), path, ".") or _at(one.get("pointer"), pointer, "/")]


def heading(found: Effective) -> str:
    """`ARTIST_REGISTRY_API 2.1.0 of tenant IACB at 2026-11-24 09:00Z (past), revision 12`."""
    where = f", on {found['instance']}" if found.get("instance") else ""
    revision = f", revision {found['revision']}" if found.get("revision") is not None else ""
    what = f"{found.get('service')} {found.get('version')} of tenant {found.get('tenant')}"
    return f"{what}{where} at {text.instant(found.get('at'))} ({found.get('tense')}){revision}"


def _at(path: object, wanted: str, step: str) -> bool:
    return bool(wanted) and (path == wanted or str(path).startswith(f"{wanted}{step}"))


def _names(found: Sequence[Key]) -> list[str]:
    return [str(one.get("path")) for one in found]


def _value(given: Mapping[str, Any]) -> str:
    if given.get("deleted"):
        return "(deleted)"
    return text.said(given["value"]) if "value" in given else "-"


def _columns(found: Sequence[Key]) -> list[Column]:
    winners = [_winner(one) for one in found]
    return [
        Column("KEY", [text.plain(one.get("path")) for one in found]),
        Column("VALUE", [text.plain(_value(one)) for one in found], gives_way_to=12),
        Column("FROM", [text.plain(one.get("winner") or "-") for one in found]),
        Column("BY", [text.plain(one.get("author") or "-") for one in winners], spare=2),
        Column("NEXT", [text.plain(_next(one)) for one in found], spare=1),
        Column("WHY", [text.plain(one.get("reason") or "-") for one in winners], spare=3),
    ]


def _winner(key: Key) -> Mapping[str, Any]:
    layers = key.get("layers") or [{}]
    last: Mapping[str, Any] = layers[-1]
    return last


def _next(key: Key) -> str:
    change = key.get("next_change")
    if not change:
        return "-"
    when = text.instant(change["at"]) if change.get("at") else "any moment"
    return f"{_value(change)} at {when}"


def _story(key: Key) -> RenderableType:
    head = Text(" ").join([text.plain(key.get("path"), "bold"), text.plain(_value(key), "green")])
    rows = [row for one in key.get("layers") or () for row in _layer(one)]
    return Group(head, facts([*rows, *_outlook(key)]))


def _layer(layer: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    """What a layer makes of the key; of a patch also who wants it, who allowed it and until when."""
    through = f"  (sets all of {layer['through']})" if layer.get("through") else ""
    yield str(text.plain(layer.get("layer"))), text.plain(f"{_value(layer)}{through}")
    if "patch_id" not in layer:
        return
    why = f": {layer['reason']}" if layer.get("reason") else ""
    yield "", text.plain(f"{layer.get('status_then')}, priority {layer.get('priority')}, by {layer.get('author')}{why}")
    yield "", text.plain(text.window(layer))
    yield "", Text(", ").join([*_allowed(layer), *_marks(layer)])


def _allowed(layer: Mapping[str, Any]) -> Iterator[Text]:
    people = [f"{one.get('approver')} ({one.get('role')})" for one in layer.get("approvals") or ()]
    if people:
        yield text.plain(f"approved by {text.listed(people)}")
    decision = layer.get("decision")
    if decision:
        yield text.plain(f"{decision.get('verdict')} by policy {str(decision.get('policy_revision'))[:SHORT]}")
    signature = layer.get("signature")
    yield text.plain(f"signature {signature}", "" if signature == "verified" else "red")


def _marks(layer: Mapping[str, Any]) -> Iterator[Text]:
    if layer.get("break_glass"):
        yield text.plain(text.mark(layer), text.ALARM)
    if layer.get("freeze_exemption"):
        yield text.plain(f"no freeze holds it: {layer['freeze_exemption']}")


def _outlook(key: Key) -> Iterator[tuple[str, Text]]:
    change = key.get("next_change")
    if change:
        yield "next", text.plain(f"{_next(key)}: {change.get('because')}", "yellow")
