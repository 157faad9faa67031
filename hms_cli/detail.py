"""One patch told in full: what it is, who decided, how far it is, and what happened when."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hms_cli import text
from hms_cli.outcome import Patch

SHORT = 19  # characters of a policy revision that tell two apart: "sha256:" and twelve


def detail(patch: Patch) -> RenderableType:
    """Everything the API says of a patch, for people."""
    name, status = text.plain(f"patch/{patch.get('patch_id')}", "bold"), text.coloured(patch.get("status"))
    head = Text("  ").join(part for part in (name, status, text.plain(patch.get("status_reason"))) if part)
    return Group(head, _facts(patch), *_timeline(patch))


def _facts(patch: Patch) -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", min_width=10)
    facts.add_column(overflow="fold")
    for name, value in [*_what(patch), *_who(patch), *_how_far(patch)]:
        facts.add_row(f"  {name}", value)
    return facts


def _what(patch: Patch) -> Iterator[tuple[str, Text]]:
    yield "service", text.plain(f"{patch.get('service')} {patch.get('version_selector')}")
    yield "tenant", text.plain(patch.get("tenant"))
    for place, (key, value) in enumerate(text.flat(patch.get("changes") or {})):
        yield "" if place else "changes", text.plain(f"{key}: {value}")
    yield "window", text.plain(text.window(patch))
    if patch.get("priority"):
        yield "priority", text.plain(patch["priority"])


def _who(patch: Patch) -> Iterator[tuple[str, Text]]:
    reason = f": {patch['reason']}" if patch.get("reason") else ""
    yield "author", text.plain(f"{patch.get('author')}{reason}")
    decision = patch.get("decision")
    if decision:
        verdict = str(decision.get("verdict"))
        style = "green" if verdict == "allow" else "red"
        policy = str(decision.get("policy_revision"))[:SHORT]
        yield "decision", Text("  ").join([text.plain(verdict, style), text.plain(f"by policy {policy}", "dim")])
        for reason in decision.get("reasons") or ():
            yield "", text.plain(reason)


def _how_far(patch: Patch) -> Iterator[tuple[str, Text]]:
    seen = patch.get("progress") or {}
    if text.progress(patch):
        yield "progress", text.plain(text.progress(patch))
    replicas = seen.get("replicas")
    if replicas:
        yield "replicas", text.plain(f"{replicas.get('running')} of {replicas.get('wanted')} run")
    if seen.get("waiting_for"):
        yield "waiting", text.plain(f"for {seen['waiting_for']}", "yellow")
    for name in ("failed", "overdue"):
        for place, one in enumerate(text.names(seen, name)):
            yield "" if place else name, text.plain(one, "red")


def _timeline(patch: Patch) -> Iterator[RenderableType]:
    events = patch.get("events") or ()
    if not events:
        return
    lines = Table.grid(padding=(0, 2, 0, 0))
    for event in events:
        lines.add_row(
            text.plain(f"  {text.moment(event.get('at'))}", "dim"),
            text.coloured(event.get("to")),
            text.plain(event.get("actor"), "dim"),
            text.plain(event.get("detail")),
        )
    yield Text()
    yield lines
