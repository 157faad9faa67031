"""One patch told in full: what it is, who decided, how far it is, and what happened when."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from hms_cli import approvals, text
from hms_cli.columns import facts
from hms_cli.outcome import Patch

SHORT = 19  # characters of a policy revision that tell two apart: "sha256:" and twelve


def detail(patch: Patch) -> RenderableType:
    """Everything the API says of a patch, for people."""
    name, status = text.plain(f"patch/{patch.get('patch_id')}", "bold"), text.coloured(patch.get("status"))
    mark, why = text.plain(text.mark(patch), text.ALARM), text.plain(patch.get("status_reason"))
    head = Text("  ").join(part for part in (name, status, mark, why) if part)
    told = [*_what(patch), *_neighbours(patch), *_who(patch), *_people(patch), *_how_far(patch)]
    return Group(head, facts(told), *_timeline(patch))


def _what(patch: Patch) -> Iterator[tuple[str, Text]]:
    yield "service", text.plain(f"{patch.get('service')} {patch.get('version_selector')}")
    yield "tenant", text.plain(patch.get("tenant"))
    for place, (key, value) in enumerate(text.flat(patch.get("changes") or {})):
        yield "" if place else "changes", text.plain(f"{key}: {value}")
    yield "window", text.plain(text.window(patch))
    if patch.get("priority"):
        yield "priority", text.plain(patch["priority"])


def _neighbours(patch: Patch) -> Iterator[tuple[str, Text]]:
    """The patches before and after it, and the freezes around it."""
    if patch.get("supersedes"):
        yield "replaces", text.plain(text.listed([f"patch/{one}" for one in patch["supersedes"]]))
    if patch.get("superseded_by") is not None:
        yield "replaced", text.plain(f"by patch/{patch['superseded_by']}")
    if patch.get("held_until"):
        yield "frozen", text.plain(f"until {text.instant(patch['held_until'])}", "yellow")
    if patch.get("freeze_exemption"):
        yield "freeze", text.plain(f"does not hold it: {patch['freeze_exemption']}")


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


def _people(patch: Patch) -> Iterator[tuple[str, Text]]:
    """Whose approval is obliged, and what each has said."""
    for one in approvals.obligations(patch):
        waits = patch.get("status") == "AWAITING_APPROVAL" and one.missing
        yield "approvals", text.plain(f"waiting for {one.missing}", "yellow") if waits else text.plain(one.asked)
    for word in patch.get("approvals") or ():
        said = f"{word.get('verdict')} by {word.get('approver')} ({word.get('role')}), {text.instant(word.get('at'))}"
        comment = f": {word['comment']}" if word.get("comment") else ""
        yield "", text.plain(f"{said}{comment}", "red" if word.get("verdict") == "reject" else "")


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
