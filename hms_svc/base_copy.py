"""A copy of the base beside conf.yml, for the day the journal is lost while patches are in the file.

`.conf.yml.hms-base`: a first line with the base, written and synced before conf.yml first leaves it and whenever it
changes; then a line for each file made of it (fingerprint, changes, patches), added without waiting for the disk. With
these a conf.yml is told from one that somebody put there instead. Lines that are torn are no lines. A doubt about the
base stands in the first line, too, and a copy nobody can read is kept aside before there is another.
"""

import json
from typing import Any, NamedTuple, TypeAlias

from hms_svc import conf_file
from hms_svc.candidate import mapping
from hms_svc.drift import remaining
from hms_svc.journal import MODE, Imprint, Journal, document_of, imprint_of, imprint_record, overlay_of, understood

MOST_BYTES = 256 * 1024
"""What the lines may take before the file is written anew."""

LATEST = 8
"""How many of the last files an edited conf.yml may go back to: the last may never have come to be."""

Head: TypeAlias = tuple[str, str, str]
"""What the first line says: the base, the first base, and why the base may be wrong."""

UNKNOWN: Head = ("", "\0", "")
"""What it says when it cannot be known: no base is like this, so it is written anew."""


class Copy(NamedTuple):
    """What the file says."""

    base: str
    origin: str
    imprints: list[Imprint]
    doubt: str = ""
    whole: bool = True  # every line could be read


class BaseCopy:
    """The file. OSError, with the file's name, when the disk does not take it."""

    def __init__(self, conf: str) -> None:
        self._conf = conf
        self._kept: Head | None = None  # what the first line is known to say
        self._bytes = 0
        self._there = ""  # where that was looked at
        self._unreadable = False  # and not yet kept aside

    @property
    def path(self) -> str:
        """Where it is now: a link to conf.yml may be set elsewhere, and the directory it led to removed."""
        return conf_file.beside(conf_file.resolved(self._conf), "hms-base")

    def keep(self, journal: Journal) -> None:
        """Before conf.yml becomes what the journal is about to write: the base is here, and what is made of it."""
        self._look()
        if self._kept is None and not (journal.writing and journal.writing.ids):
            return
        fits = self._kept == _head(journal) and self._bytes <= MOST_BYTES
        self._kept = UNKNOWN
        if fits and self._append(_line(journal.writing)):
            self._kept = _head(journal)
        else:
            self._write(journal)

    def _append(self, line: str) -> bool:
        """Whether there was a file to add to."""
        try:
            conf_file.append(self._there, line)
        except FileNotFoundError:
            return False
        self._bytes += len(line)
        return True

    def follow(self, journal: Journal) -> None:
        """The base may have changed: a copy that is there goes along."""
        self._look()
        if self._kept is not None and self._kept != _head(journal):
            self._write(journal)

    def _look(self) -> None:
        """What is there already, once for each place; what cannot be read is written anew."""
        if (path := self.path) == self._there:
            return
        self._there, self._bytes, self._unreadable = path, 0, False
        try:
            copy = self.read()
        except (OSError, ValueError):
            self._kept, self._unreadable = UNKNOWN, True
        else:
            self._kept = copy and ((copy.base, copy.origin, copy.doubt) if copy.whole else UNKNOWN)

    def _write(self, journal: Journal) -> None:
        if self._unreadable:
            conf_file.set_aside(self._there, f"{self._there}.unreadable")
            self._unreadable = False
        base, origin, doubt = head = _head(journal)
        first = json.dumps({"format": 1, "base": base, "origin": origin, "doubt": doubt}) + "\n"
        lines = "".join(map(_line, journal.imprints))
        conf_file.write_atomically(self._there, first + lines, MODE)
        self._kept, self._bytes = head, len(lines)

    def read(self) -> Copy | None:
        """What is there; None when nothing is; OSError or ValueError when it cannot be read."""
        try:
            raw = conf_file.read_raw(self.path, conf_file.OWN_BYTES)
        except FileNotFoundError:
            return None
        try:
            return understood(lambda: _copy(*raw.split(b"\n")))
        except ValueError:
            raise ValueError(f"{self.path} is no copy of a base") from None

    def sweep(self) -> None:
        """Remove what a killed agent left."""
        conf_file.sweep([self.path])


def _head(journal: Journal) -> Head:
    return journal.base or "", journal.origin, journal.misgiving


def _line(imprint: Imprint | None) -> str:
    return json.dumps(imprint_record(imprint)) + "\n" if imprint else ""


def _copy(head: bytes, *lines: bytes) -> Copy:
    record = json.loads(head)
    found = [imprint for line in lines if (imprint := _imprint(line))]
    whole = lines[-1:] == (b"",) and len(found) == len(lines) - 1
    base, origin = document_of(record["base"]), document_of(record["origin"])
    return Copy(base, origin, found, str(record.get("doubt", "")), whole)


def _imprint(line: bytes) -> Imprint | None:
    try:
        return understood(lambda: imprint_of(json.loads(line)))
    except ValueError:
        return None


def made_of(copy: Copy, text: str | None) -> Imprint | None:
    """The imprint conf.yml's text goes back to; None when it was not made of this base.

    A text that is none of ours as it stands may be one a person has edited since: what it still shows of what the last
    patches changed is theirs, and everything else the person's. One that shows nothing of it is somebody's own.
    """
    last = copy.imprints[-1] if copy.imprints else None
    if text is None or not text.strip():
        return last
    sha = conf_file.sha(text)
    exact = next((imprint for imprint in reversed(copy.imprints) if imprint.sha == sha), None)
    if exact or last is None:
        return exact
    try:
        return _edited(mapping(copy.base), mapping(text), copy.imprints[-LATEST:])
    except ValueError:
        return last


def _edited(base: dict[str, Any], found: dict[str, Any], imprints: list[Imprint]) -> Imprint | None:
    """What these files have left in one that was edited since; None when that is nothing."""
    left = [imprint._replace(overlay=remaining(base, imprint.overlay, found)) for imprint in imprints]
    overlay = overlay_of(left)
    ids = dict.fromkeys(patch_id for imprint in left if imprint.overlay for patch_id in imprint.ids)
    return Imprint("", overlay, tuple(ids)) if overlay else None
