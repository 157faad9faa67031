"""What the agent must still know after a crash, a restart or a night without network.

One JSON file, replaced atomically and synced *before* conf.yml is touched, so at any kill point it says both
what the file was and what it was about to become. Patches are kept with GOV's signed decisions and verified
again when read: the disk is not trusted more than the broker. A journal that cannot be read is kept aside
and the agent starts as if it were the first time, but for the base (see `recovery`). The files that proved themselves
stand in a file of their own, for they are large and seldom change.
"""

import json
from collections.abc import Callable, Iterable
from functools import cached_property, reduce
from typing import Any, NamedTuple, TypeVar

from hms_svc import conf_file
from hms_svc.attempt import Attempt, Trial, read_attempt, read_trial
from hms_svc.candidate import Candidate, mapping
from hms_svc.latches import Latches
from hms_svc.merge import compose, packed, unpacked
from hms_svc.messages import Patch, entry, read_entry
from hms_svc.timekeeper import Seen
from hms_svc.trust import Trust
from hms_svc.wire import Refused

FORMAT = 1
FILE = "journal.json"
GOOD_FILE = "good.json"
ASIDE = "journal.unreadable"
KEPT_GOOD = 3
KEPT_UNSYNCED = 8
KEPT_RECEIPTS = 200
MODE = 0o600  # the configuration may hold secrets
_LAST_INSTANT = 253_402_300_800  # the year 10,000

T = TypeVar("T")


class Imprint(NamedTuple):
    """A conf.yml of ours: its fingerprint, the changes laid over the base to make it, and whose they were."""

    sha: str
    overlay: dict[str, Any]
    ids: tuple[int, ...]

    @classmethod
    def of(cls, candidate: Candidate) -> "Imprint":
        """The one that these files leave."""
        return cls(candidate.conf_sha, candidate.overlay, candidate.ids)


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
        self.attempt: Attempt | None = None
        self.trial: Trial | None = None
        self.suspects: tuple[int, ...] = ()
        self.receipts: list[dict[str, Any]] = []  # not known to be delivered
        self.doubt: tuple[str, str] | None = None  # why the base may be wrong, and the fingerprint of that base
        self.unsynced: list[Imprint] = []  # what conf.yml may be again after a power cut: no sync made it last
        self.read_good: Callable[[], list[Candidate]] = list
        self.remains = ""  # the text of a journal nobody can read, found instead of this one
        self.latches = Latches()
        self.signers: list[str] = []  # MGT's keys under which the revision counts
        self.seen: Seen | None = None

    @property
    def untouched(self) -> bool:
        """Whether no file was ever written by us, so the process can only know the base."""
        return not self.imprints

    @property
    def imprints(self) -> list[Imprint]:
        """What conf.yml may be if nobody else touched it: as last written, or as it was about to be."""
        return [imprint for imprint in (*self.unsynced, self.written, self.writing) if imprint]

    def knows(self, text: str) -> bool:
        """Whether conf.yml with this text is one of ours, or the base before anything was written."""
        if self.untouched:
            return text == self.base
        return conf_file.sha(text) in [imprint.sha for imprint in self.imprints]

    def proven(self, imprints: Iterable[Imprint]) -> list[str]:
        """The texts of those that proved themselves; put back, they may be of an older base than today's."""
        wanted = {imprint.sha for imprint in imprints}
        return [good.conf for good in self.good if conf_file.sha(good.conf) in wanted]

    @property
    def overlay(self) -> dict[str, Any]:
        """Every key patches may have changed in conf.yml as it is now."""
        return overlay_of(self.imprints)

    @property
    def in_files(self) -> set[int]:
        """The patches whose changes may be in conf.yml as it is now."""
        return set(self.active).union(*(imprint.ids for imprint in self.imprints))

    @cached_property
    def good(self) -> list[Candidate]:
        """The files that proved themselves, the newest first; read when asked for."""
        return self.read_good()

    @property
    def misgiving(self) -> str:
        """Why the base may not be the base; "" when nothing says so, or it has changed since."""
        if self.doubt is None or self.doubt[1] not in ("", conf_file.sha(self.base or "")):
            return ""
        return self.doubt[0]

    def worked(self, candidate: Candidate) -> bool:
        """Whether the process was seen to work with these very files: proven, or the last in effect."""
        return candidate.sha == self.effective_sha or any(good.texts == candidate.texts for good in self.good)

    def promote(self, good: Candidate) -> None:
        """Remember files that proved themselves; the newest first, at most three."""
        self.good = [good, *(known for known in self.good if known.texts != good.texts)][:KEPT_GOOD]

    def last_good(self, ids: Iterable[int], paths: Iterable[str]) -> Candidate | None:
        """The newest proven files at these very paths (settings change) that hold no patch besides `ids`."""
        allowed, places = set(ids), set(paths)
        return next((good for good in self.good if allowed.issuperset(good.ids) and places == set(good.texts)), None)


class JournalFile:
    """The journal on disk: for one tenant and service, in the state directory."""

    def __init__(self, directory: str, tenant: str, service: str, version: str) -> None:
        self.path = f"{directory}/{FILE}"
        self.good_path = f"{directory}/{GOOD_FILE}"
        self._directory = directory
        self._who = {"tenant": tenant, "service": service}
        self._version = version
        self._replaced = -1  # the journal before this one

    def load(self, trust: Trust) -> tuple[Journal, list[Refused], str]:
        """The journal, what was refused in it, and why it was moved aside ("" when it was not)."""
        try:
            journal, refused = self.read(trust)
        except ValueError as error:
            journal = self._first()
            journal.remains = conf_file.read_raw(self.path, conf_file.OWN_BYTES).decode(errors="replace")
            return journal, [], f"{error}{self._set_aside()}"
        return journal, refused, ""

    def _set_aside(self) -> str:
        """Keep what cannot be read for people. Where the disk refuses, say so: it is no reason not to start."""
        try:
            conf_file.set_aside(self.path, f"{self._directory}/{ASIDE}")
        except OSError as error:
            return f"; not kept: {conf_file.words(error)}"
        return ""

    def _first(self) -> Journal:
        """A journal of which nothing was read, beside what may have proved itself before it was lost."""
        journal = Journal()
        journal.read_good = lambda: self._read_good([])
        return journal

    def read(self, trust: Trust) -> tuple[Journal, list[Refused]]:
        """The journal and what was refused in it, as `load`; ValueError, and no move aside, when it cannot be read."""
        text = conf_file.read_text(self.path, conf_file.OWN_BYTES)
        return understood(lambda: self._parse(json.loads(text), trust)) if text is not None else (self._first(), [])

    def _parse(self, record: dict[str, Any], trust: Trust) -> tuple[Journal, list[Refused]]:
        if record["format"] != FORMAT:
            raise ValueError(f"unknown journal format {record['format']!r}")
        journal = Journal()
        journal.base = None if record["base"] is None else document_of(record["base"])
        journal.origin = document_of(record["origin"])
        journal.written, journal.writing = imprint_of(record["written"]), imprint_of(record["writing"])
        journal.active = tuple(int(patch_id) for patch_id in record["active"])
        journal.effective_sha = str(record["effective_sha"])
        journal.attempt = read_attempt(record.get("attempt"))
        journal.unsynced = [imprint for one in record.get("unsynced", ()) if (imprint := imprint_of(one))]
        if doubt := record.get("doubt"):
            journal.doubt = (str(doubt[0]), str(doubt[1]))
        older = list(record["good"])  # where they stood before they had a file of their own
        journal.read_good = lambda: self._read_good(older)
        if record["version"] == self._version:  # another version may take what this one choked on
            journal.suspects = tuple(map(int, record.get("suspects", ())))
            journal.trial = read_trial(record.get("trial"))
            journal.blocked = {int(key): (str(stage), str(words)) for key, (stage, words) in record["blocked"].items()}
        if {"tenant": record["tenant"], "service": record["service"]} != self._who:
            return journal, []  # the base is still the base; the patches are not ours
        _read_time(journal, record.get("time", {}))
        journal.revision = int(record["revision"])
        journal.signers = list(map(str, record.get("signers", ())))
        journal.receipts = [dict(receipt) for receipt in record.get("receipts", ())]
        refused = self._read_patches(journal, record["patches"], trust)
        if journal.signers and set(journal.signers).isdisjoint(trust.mgt.names):  # killed before it was written down
            journal.revision, journal.complete = 0, False
        return journal, refused

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
            "written": imprint_record(journal.written),
            "writing": imprint_record(journal.writing),
            "active": journal.active,
            "effective_sha": journal.effective_sha,
            "blocked": journal.blocked,
            "good": [],
            "attempt": journal.attempt and journal.attempt.record(),
            "trial": journal.trial,
            "suspects": journal.suspects,
            "receipts": journal.receipts[-KEPT_RECEIPTS:],
            "doubt": journal.doubt,
            "unsynced": journal.unsynced[-KEPT_UNSYNCED:],
            "time": _time(journal),
            "signers": journal.signers,
        }
        self.let_go()  # a save failed, and nobody has settled since
        self._replaced = conf_file.hold(self.path)
        conf_file.write_atomically(self.path, json.dumps(record), MODE)

    def let_go(self) -> None:
        """Let the disk delete the journal that was replaced."""
        self._replaced = conf_file.let_go(self._replaced)

    def save_good(self, journal: Journal) -> None:
        """Write the files that proved themselves; OSError as above."""
        record = [{"ids": good.ids, "overlay": packed(good.overlay), "texts": good.texts} for good in journal.good]
        conf_file.write_atomically(self.good_path, json.dumps(record), MODE)

    def _read_good(self, older: list[Any]) -> list[Candidate]:
        """What cannot be read is not proven: it will be checked like anything else."""
        try:
            text = conf_file.read_text(self.good_path, conf_file.OWN_BYTES) or "[]"
            return understood(lambda: [_candidate(good) for good in json.loads(text) or older])
        except (OSError, ValueError):
            return []

    def sweep(self) -> None:
        """Remove what a killed agent left."""
        conf_file.sweep([self.path, self.good_path, f"{self._directory}/{ASIDE}"])


def understood(read: Callable[[], T]) -> T:
    """What a file of ours says, read by this; ValueError whatever is wrong with it, for bits rot and people edit."""
    try:
        return read()
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("want text")
    return value


def document_of(value: object) -> str:
    """A conf.yml's text from a file of ours; ValueError where it is none."""
    text = _text(value)
    mapping(text)
    return text


def overlay_of(imprints: Iterable[Imprint]) -> dict[str, Any]:
    """Every key that any of these may have changed."""
    return reduce(compose, (imprint.overlay for imprint in imprints), {})


def imprint_of(record: list[Any] | None) -> Imprint | None:
    """From the journal, or from the copy of the base."""
    return Imprint(_text(record[0]), unpacked(dict(record[1])), tuple(map(int, record[2]))) if record else None


def imprint_record(imprint: Imprint | None) -> list[Any] | None:
    """The other way round."""
    return [imprint.sha, packed(imprint.overlay), imprint.ids] if imprint else None


def _time(journal: Journal) -> dict[str, Any]:
    latches = journal.latches
    return {"seen": journal.seen, "begun": sorted(latches.begun), "over": sorted(latches.over)}


def _read_time(journal: Journal, record: dict[str, Any]) -> None:
    """Pick up when it was last, and what cannot happen again; a journal from before there was this has none."""
    journal.latches.begun = {int(patch_id) for patch_id in record.get("begun", ())}
    journal.latches.over = {int(patch_id) for patch_id in record.get("over", ())}
    if seen := record.get("seen"):
        journal.seen = Seen(_seconds(seen[0]), _seconds(seen[1]), str(seen[2]))


def _seconds(value: Any) -> float:
    if not 0 <= float(value) < _LAST_INSTANT:
        raise ValueError("want a clock's seconds")
    return float(value)


def _candidate(record: dict[str, Any]) -> Candidate:
    texts = {_text(path): _text(text) for path, text in record["texts"].items()}
    if not texts:
        raise ValueError("want files")
    return Candidate(tuple(map(int, record["ids"])), unpacked(dict(record["overlay"])), texts)
