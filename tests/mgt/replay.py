"""Recomputes what a service's configuration was, or was planned to be, from the rows of the audit and nothing else.

Naive on purpose, and by other means than the product: a document is a flat set of paths here, a patch is carried out
on it step by step, and every question goes through all rows again.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

import yaml

Path: TypeAlias = tuple[str, ...]
IN_FORCE = {"ROLLING_OUT", "APPLIED", "HALTED"}
TO_COME = {"APPROVED", "SCHEDULED"}


class Row(NamedTuple):
    """What the replay looks at of one row."""

    at: datetime
    action: str
    subject: str
    after: Mapping[str, Any] | None


class Document:
    """A configuration as its values by path, and the paths at which a mapping stands."""

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self.values: dict[Path, Any] = {}
        self.mappings: set[Path] = {()}
        self._load((), tree)

    def _load(self, path: Path, node: Any) -> None:
        if isinstance(node, dict):
            self.mappings.add(path)
            for name, below in node.items():
                self._load((*path, name), below)
        else:
            self.values[path] = node

    def change(self, path: Path, wanted: Any) -> None:
        """Carry out one knob, or a part of it."""
        if isinstance(wanted, dict):
            self.values.pop(path, None)
            self.mappings.add(path)
            for name, below in wanted.items():
                self.change((*path, name), below)
            return
        for known in [one for one in (*self.values, *self.mappings) if one[: len(path)] == path]:
            self.values.pop(known, None)
            self.mappings.discard(known)
        if wanted is not None:
            self.values[path] = wanted

    def tree(self) -> dict[str, Any]:
        """Return it as a tree again."""
        root: dict[str, Any] = {}
        for path in sorted(self.mappings - {()}, key=len):
            self._parent(root, path)[path[-1]] = {}
        for path, value in self.values.items():
            self._parent(root, path)[path[-1]] = value
        return root

    @staticmethod
    def _parent(root: dict[str, Any], path: Path) -> dict[str, Any]:
        for name in path[:-1]:
            root = root[name]
        return root


class Story:
    """What the audit says of one patch up to an instant."""

    def __init__(self, number: int, rows: Iterable[Row]) -> None:
        self.number = number
        self.facts: dict[str, Any] = {}
        for row in rows:
            self.facts |= row.after or {}

    @property
    def status(self) -> str:
        return str(self.facts["status"])

    @property
    def start(self) -> datetime:
        return instant(self.facts["window"]["start"])

    @property
    def end(self) -> datetime | None:
        end = self.facts["window"]["end"]
        return None if end is None else instant(end)

    @property
    def place(self) -> tuple[int, int]:
        return self.facts["priority"], self.facts["approval_order"]

    def open(self, at: datetime) -> bool:
        return self.start <= at and (self.end is None or at < self.end)

    def begins(self, freezes: Sequence[Mapping[str, Any]], known: datetime) -> datetime:
        """Go from freeze to freeze until none holds the patch."""
        at = max(self.start, known)
        if self.facts["freeze_exemption"] or self.facts["break_glass"]:
            return at
        while True:
            ends = [instant(one["ends_at"]) for one in freezes if instant(one["starts_at"]) <= at]
            later = max([at, *ends])
            if later == at:
                return at
            at = later


class Replay:
    """The audit of one tenant, and the questions that can be put to it."""

    def __init__(self, rows: Sequence[Row], tenant: str, service: str) -> None:
        self._rows = rows
        self._deployment = f"deployment/{tenant}/{service}/"
        self._service = service

    def effective(self, version: str, at: datetime, now: datetime) -> dict[str, Any]:
        """Return the configuration at an instant, as one who asks at `now` is to be told."""
        known = min(at, now)
        rows = [row for row in self._rows if row.at <= known]
        document = Document(self._base(rows, version))
        for story in self._in_force(rows, at, now):
            if selected(story.facts["version_selector"], version):
                for knob, wanted in story.facts["changes"].items():
                    document.change((knob,), wanted)
        return document.tree()

    def instants(self) -> list[datetime]:
        """Return every instant at which something happened or a window begins, ends, or is held to."""
        found = {row.at for row in self._rows}
        for story in self._stories(self._rows):
            found |= {story.start} | ({story.end} if story.end is not None else set())
        for row in self._rows:
            if row.subject.startswith("freeze/") and row.after:
                found.add(instant(row.after["ends_at"]))
        return sorted(found)

    def _base(self, rows: Iterable[Row], version: str) -> dict[str, Any]:
        registered = [row.after for row in rows if row.subject == self._deployment + version]
        return yaml.safe_load((registered[-1] or {})["conf"]) if registered else {}

    def _stories(self, rows: Iterable[Row]) -> list[Story]:
        by_number: dict[int, list[Row]] = {}
        for row in rows:
            match = re.fullmatch(r"patch/(\d+)", row.subject)
            if match and row.action != "denied":
                by_number.setdefault(int(match[1]), []).append(row)
        stories = [Story(number, rows) for number, rows in by_number.items()]
        return [story for story in stories if story.facts.get("service") == self._service]

    def _in_force(self, rows: Sequence[Row], at: datetime, now: datetime) -> list[Story]:
        stories = self._stories(rows)
        if at <= now:
            chosen = [one for one in stories if one.status in IN_FORCE]
        else:
            freezes = standing_freezes(rows)
            begun = [one for one in stories if one.status in IN_FORCE - {"HALTED"}]
            for one in stories:
                if one.status in TO_COME:
                    begins = one.begins(freezes, now)
                    if begins <= at and (one.end is None or begins < one.end):
                        begun.append(one)
            replaced = {number for one in begun for number in one.facts["supersedes"]}
            chosen = [one for one in begun if one.number not in replaced]
        return sorted((one for one in chosen if one.open(at)), key=lambda one: one.place)


def standing_freezes(rows: Iterable[Row]) -> list[Mapping[str, Any]]:
    """Return the freezes that were made and not lifted."""
    last = {row.subject: row.after for row in rows if row.subject.startswith("freeze/")}
    return [after for after in last.values() if after and after["lifted_at"] is None]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def selected(selector: str, version: str) -> bool:
    """Match the few forms of selectors that the histories use."""
    return all(_holds(term.strip(), version) for term in selector.split(","))


def _holds(term: str, version: str) -> bool:
    match = re.fullmatch(r"(>=|<|=|)(\d+(?:\.\d+)*|\*)", term)
    assert match, f"the replay does not read {term}"
    if match[2] == "*":
        return True
    mine, theirs = (tuple(map(int, text.split("."))) for text in (version, match[2]))
    theirs += (0,) * (3 - len(theirs))
    return {">=": mine >= theirs, "<": mine < theirs}.get(match[1], mine == theirs)
