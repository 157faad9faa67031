"""The files that may be wanted, made of the base, patches, and the templates as they are now. Nothing is written here.

Beside what is wanted: what would stand without the patches that are new, what is in effect, what to fall back to.
"""

from collections.abc import Collection, Sequence

from hms_svc.candidate import Candidate, make
from hms_svc.conf_file import peek, sha, words
from hms_svc.job import StageFailed
from hms_svc.journal import Journal
from hms_svc.messages import Patch
from hms_svc.render import templates
from hms_svc.settings import Settings


class Drafts:
    """Makes candidates for one agent."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._usable: dict[str, str] | None = None  # the templates the last candidate was made of

    def of(self, layers: Sequence[Patch], *, late: bool) -> Candidate:
        """The files with these patches; StageFailed where they cannot be made."""
        try:
            return self._made(layers, late=late)
        except OSError as error:
            raise StageFailed("checked", words(error), surroundings=True) from None
        except MemoryError:
            raise StageFailed("checked", "out of memory", surroundings=True) from None
        except Exception as error:  # noqa: BLE001 - whatever a patch does to the fold, it must not stop the next ending
            raise StageFailed("checked", str(error) or repr(error)) from None

    def _made(self, layers: Sequence[Patch], *, late: bool) -> Candidate:
        """OSError where a template cannot be read, unless a patch is `late` in going."""
        try:
            texts = templates(self._settings.render)
        except OSError:
            if not late or self._usable is None:
                raise
            texts = self._usable
        candidate = make(self._journal.base or "", layers, self._settings.conf, texts)
        self._usable = texts
        return candidate

    def standing(self, layers: Sequence[Patch], fresh: Collection[int], worked: Candidate | None) -> dict[str, str]:
        """The files without what is new; where nothing is, those in effect, or that `worked` last, or of the base."""
        if not fresh:
            return self.in_effect() or _texts(worked or self._bare())
        return _texts(self._again([layer for layer in layers if layer.id not in fresh]))

    def in_effect(self) -> dict[str, str]:
        """The files as they are, if they are those last seen to work."""
        texts = {path: peek(path) or "" for path in self._settings.paths}
        return texts if sha(*texts.values()) == self._journal.effective_sha else {}

    def fallback(self, wanted: Collection[int], effective: Candidate | None, *, late: bool) -> Candidate | None:
        """Files that once worked, without any ended patch; None where there are none, or they are there already."""
        good = self._journal.last_good(wanted, self._settings.paths)
        if good is None and late:
            good = self._bare()  # a check that takes nothing may not keep a patch that has ended
        there = good == effective and bool(self.in_effect())
        return None if there else good

    def _bare(self) -> Candidate | None:
        """The base alone."""
        return self._again(())

    def _again(self, layers: Sequence[Patch]) -> Candidate | None:
        """With the templates the last candidate was made of; None when there was none, or nothing can be made."""
        if self._usable is None:
            return None
        try:
            return make(self._journal.base or "", layers, self._settings.conf, self._usable)
        except ValueError:
            return None


def _texts(candidate: Candidate | None) -> dict[str, str]:
    return candidate.texts if candidate else {}
