"""A copy of the base beside conf.yml, for the day the journal is lost while patches are in the file.

`.conf.yml.hms-base`: a first line with the base, written and synced before conf.yml first leaves it and whenever it
changes; then a line for each file made of it (fingerprint, changes, patches), added without waiting for the disk. With
these a conf.yml is told from one that somebody put there instead. Lines that are torn are no lines.
"""

import json
import os
from typing import Any, NamedTuple

from hms_svc import conf_file
from hms_svc.candidate import mapping
from hms_svc.drift import differences
from hms_svc.journal import MODE, Imprint, Journal, imprint_of, imprint_record, understood
from hms_svc.merge import merge, same

MOST_BYTES = 256 * 1024
"""What the lines may take before the file is written anew."""

UNKNOWN = ("", "\0")
"""What the first line says when it cannot be known: no base is like this, so it is written anew."""


class Copy(NamedTuple):
    """What the file says."""

    base: str
    origin: str
    imprints: list[Imprint]


class BaseCopy:
    """The file. OSError, with the file's name, when the disk does not take it."""

    def __init__(self, conf: str) -> None:
        directory, name = os.path.split(os.path.realpath(conf))
        self.path = os.path.join(directory, f".{name}.hms-base")  # noqa: PTH118 - pathlib costs a megabyte
        self._kept: tuple[str, str] | None = None  # what the first line is known to say
        self._bytes = 0
        self._looked = False

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
            conf_file.append(self.path, line)
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
        """What is there already, once; what cannot be read is written anew."""
        if self._looked:
            return
        self._looked = True
        try:
            copy = self.read()
        except (OSError, ValueError):
            self._kept = UNKNOWN
        else:
            self._kept = (copy.base, copy.origin) if copy else None

    def _write(self, journal: Journal) -> None:
        base, origin = _head(journal)
        head = json.dumps({"format": 1, "base": base, "origin": origin}) + "\n"
        lines = "".join(map(_line, journal.imprints))
        conf_file.write_atomically(self.path, head + lines, MODE)
        self._kept, self._bytes = (base, origin), len(lines)

    def read(self) -> Copy | None:
        """What is there; None when nothing is; OSError or ValueError when it cannot be read."""
        text = conf_file.read_text(self.path, conf_file.OWN_BYTES)
        if text is None:
            return None
        try:
            return understood(lambda: _copy(*text.split("\n")))
        except ValueError:
            raise ValueError(f"{self.path} is no copy of a base") from None

    def sweep(self) -> None:
        """Remove what a killed agent left."""
        conf_file.sweep([self.path])


def _head(journal: Journal) -> tuple[str, str]:
    return journal.base or "", journal.origin


def _line(imprint: Imprint | None) -> str:
    return json.dumps(imprint_record(imprint)) + "\n" if imprint else ""


def _copy(head: str, *lines: str) -> Copy:
    record = json.loads(head)
    found = [imprint for line in lines if (imprint := imprint_of(_parsed(line)))]
    return Copy(str(record["base"]), str(record["origin"]), found)


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def made_of(copy: Copy, text: str | None) -> Imprint | None:
    """The imprint conf.yml's text goes back to; None when it was not made of this base.

    A text that is none of ours as it stands may be one a person has edited since: then it still holds every value the
    last patches gave it. One without a single such value is somebody's own.
    """
    last = copy.imprints[-1] if copy.imprints else None
    if text is None or not text.strip():
        return last
    sha = conf_file.sha(text)
    exact = next((imprint for imprint in reversed(copy.imprints) if imprint.sha == sha), None)
    if exact or last is None:
        return exact
    try:
        base, found = mapping(copy.base), mapping(text)
    except ValueError:
        return last
    made = merge(base, last.overlay)
    return last if not same(made, base) and _holds(found, made, differences(base, made)) else None


def _holds(found: dict[str, Any], made: dict[str, Any], paths: list[str]) -> bool:
    return not set(paths).intersection(differences(found, made))
