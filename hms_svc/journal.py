"""What the agent must still know after a crash, a restart or a night without network.

One JSON file, replaced atomically and synced *before* conf.yml is touched, so at any kill point it says both
what the file was and what it was about to become. Patches are kept with GOV's signed decisions and verified
again when read: the disk is not trusted more than the broker. A journal that cannot be read is moved aside
and the agent starts as if it were the first time.
"""

import json
import os
from collections.abc import Iterable
from functools import reduce
from typing import Any, NamedTuple

from hms_svc import conf_file
from hms_svc.candidate import Candidate
from hms_svc.merge import compose
from hms_svc.messages import Patch, entry, read_entry
from hms_svc.wire import Refused, Trust

FORMAT = 1
FILE = "journal.json"
ASIDE = "journal.unreadable"
KEPT_GOOD = 3
MODE = 0o600  # the configuration may hold secrets


class Imprint(NamedTuple):
    """A conf.yml of ours: its fingerprint, the changes laid over the base to make it, and whose they were."""

    sha: str
    overlay: dict[str, Any]
    ids: tuple[int, ...]


class Journal:
    """The journal's content. Plain fields; `save` writes them all."""

    def __init__(self) -> None:
        self.revision = 0
        self.patches: dict[int, Patch] = {}
        self.complete = True  # False: some patch was refused on reading, so ask for the snapshot of this revision again
        self.base: str | None = None
        self.origin = ""
        self.written: Imprint | None = None
        self.writing: Imprint | None = None
        self.active: tuple[int, ...] = ()
        self.effective_sha = ""
        self.blocked: dict[int, tuple[str, str]] = {}
        self.good: list[Candidate] = []

    @property
    def untouched(self) -> bool:
        """Whether no file was ever written by us, so the process can only know the base."""
        return not self.imprints

    @property
    def imprints(self) -> list[Imprint]:
        """What conf.yml may be if nobody else touched it: as last written, or as it was about to be."""
        return [imprint for imprint in (self.written, self.writing) if imprint]

    def knows(self, text: str) -> bool:
        """Whether conf.yml with this text is one of ours, or the base before anything was written."""
        if self.untouched:
            return text == self.base
        return conf_file.sha(text) in [imprint.sha for imprint in self.imprints]

    @property
    def overlay(self) -> dict[str, Any]:
        """Every key patches may have changed in conf.yml as it is now."""
        return reduce(compose, (imprint.overlay for imprint in self.imprints), {})

    @property
    def in_files(self) -> set[int]:
        """The patches whose changes may be in conf.yml as it is now."""
        return set(self.active).union(*(imprint.ids for imprint in self.imprints))

    def promote(self, good: Candidate) -> None:
        """Remember files that proved themselves; the newest first, at most three."""
        self.good = [good, *(known for known in self.good if known.texts != good.texts)][:KEPT_GOOD]

    def last_good(self, ids: Iterable[int]) -> Candidate | None:
        """The newest proven files that hold no patch besides `ids`."""
        allowed = set(ids)
        return next((good for good in self.good if allowed.issuperset(good.ids)), None)


class JournalFile:
    """The journal on disk: for one tenant and service, in the state directory."""

    def __init__(self, directory: str, tenant: str, service: str, version: str) -> None:
        self.path = f"{directory}/{FILE}"
        self._directory = directory
        self._who = {"tenant": tenant, "service": service}
        self._version = version

    def load(self, trust: Trust) -> tuple[Journal, list[Refused], str]:
        """The journal, what was refused in it, and why it was moved aside ("" when it was not)."""
        try:
            text = conf_file.read_text(self.path)
            if text is None:
                return Journal(), [], ""
            journal, refused = self._parse(json.loads(text), trust)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            os.replace(self.path, f"{self._directory}/{ASIDE}")  # noqa: PTH105 - as above
            return Journal(), [], f"{type(error).__name__}: {error}"
        return journal, refused, ""

    def _parse(self, record: dict[str, Any], trust: Trust) -> tuple[Journal, list[Refused]]:
        if record["format"] != FORMAT:
            raise ValueError(f"unknown journal format {record['format']!r}")
        journal = Journal()
        journal.base, journal.origin = record["base"], record["origin"]
        journal.written, journal.writing = _imprint(record["written"]), _imprint(record["writing"])
        journal.active = tuple(int(patch_id) for patch_id in record["active"])
        journal.effective_sha = str(record["effective_sha"])
        journal.good = [_candidate(good) for good in record["good"]]
        if record["version"] == self._version:  # another version may take what this one choked on
            journal.blocked = {int(key): (stage, words) for key, (stage, words) in record["blocked"].items()}
        if {"tenant": record["tenant"], "service": record["service"]} != self._who:
            return journal, []  # the base is still the base; the patches are not ours
        journal.revision = int(record["revision"])
        return journal, self._read_patches(journal, record["patches"], trust)

    def _read_patches(self, journal: Journal, entries: list[Any], trust: Trust) -> list[Refused]:
        refused = []
        for item in entries:
            try:
                patch = read_entry(item, trust, self._who["tenant"], self._who["service"])
            except Refused as refusal:
                refused.append(refusal)
                continue
            journal.patches[patch.id] = patch
        journal.complete = not refused
        return refused

    def save(self, journal: Journal) -> None:
        """Write everything, synced; OSError when the disk does not take it (the old journal stays)."""
        record = {
            "format": FORMAT,
            **self._who,
            "version": self._version,
            "revision": journal.revision,
            "patches": [entry(patch.order, patch.admit_below, patch.envelope) for patch in journal.patches.values()],
            "base": journal.base,
            "origin": journal.origin,
            "written": journal.written,
            "writing": journal.writing,
            "active": journal.active,
            "effective_sha": journal.effective_sha,
            "blocked": journal.blocked,
            "good": [good._asdict() for good in journal.good],
        }
        conf_file.write_atomically(self.path, json.dumps(record), MODE)

    def keep_aside(self, name: str, text: str) -> str:
        """Keep somebody's text that has to leave conf.yml; the path of the copy, or "" when it could not be kept."""
        path = f"{self._directory}/{name}"
        try:
            conf_file.write_atomically(path, text, MODE)
        except OSError:
            return ""
        return path


def _imprint(record: list[Any] | None) -> Imprint | None:
    return Imprint(str(record[0]), dict(record[1]), tuple(record[2])) if record else None


def _candidate(record: dict[str, Any]) -> Candidate:
    return Candidate(tuple(record["ids"]), dict(record["overlay"]), dict(record["texts"]))
