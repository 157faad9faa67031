"""The revisions of a stream, and what going back to one did."""

from collections.abc import Iterator, Sequence

from rich.text import Text

from hms_cli import text
from hms_cli.columns import Column, table
from hms_cli.output import Document, Result

_Row = tuple[object, str, str]


def revisions(found: Sequence[Document]) -> Result:
    """What a stream held, revision by revision."""
    names = [f"revision/{one.get('revision')}" for one in found]
    return Result({"items": found}, names, lambda width: table(_revision_columns(found), width))


def returned(done: Document) -> Result:
    """What happened to each patch. Its names are the new patches."""
    names = [f"patch/{one.get('patch_id')}" for one in done.get("resubmitted") or ()]
    rows = list(_fates(done))
    return Result(done, names, lambda width: table(_fate_columns(rows), width))


def heading(done: Document) -> str:
    """Whether there is a new revision, and what is still to come."""
    revision = done.get("revision")
    now = "nothing had to leave" if revision is None else f"revision {revision} is on its way"
    return f"{now}; what was submitted anew follows once GOV allows it" if done.get("resubmitted") else now


def _fates(done: Document) -> Iterator[_Row]:
    for number in done.get("ended") or ():
        yield number, "ended", ""
    for one in done.get("resubmitted") or ():
        yield one.get("was"), "resubmitted", f"as patch/{one.get('patch_id')}"
    for one in done.get("lost") or ():
        yield one.get("patch_id"), "lost", str(one.get("reason"))


def _fate_columns(rows: Sequence[_Row]) -> list[Column]:
    styles = {"lost": "red"}
    return [
        Column("PATCH", [text.plain(number) for number, _, _ in rows]),
        Column("FATE", [text.plain(fate, styles.get(fate, "")) for _, fate, _ in rows]),
        Column("HOW", [text.plain(how) for _, _, how in rows], gives_way_to=20),
    ]


def _revision_columns(found: Sequence[Document]) -> list[Column]:
    def held(one: Document) -> Text:
        return text.plain(",".join(map(str, one.get("patches") or ())) or "-")

    return [
        Column("REVISION", [text.plain(one.get("revision")) for one in found]),
        Column("AT", [text.plain(text.instant(one.get("at"))) for one in found]),
        Column("PATCHES", [held(one) for one in found], gives_way_to=12),
    ]
