"""Keeps an eye on the files: finds the base at the first start, and notices when somebody else writes.

A look is a stat; the file is read only when that changed. Writers empty a file before they fill it, so an edit counts
once it has stood still for a moment. An edit that is no YAML, or nothing at all, cannot join the base: it is kept
beside the journal, and the file is healed whole, because the served process must always be able to start from it.
"""

from typing import Literal, TypeAlias

from hms_svc import conf_file, drift
from hms_svc.candidate import mapping
from hms_svc.conf_file import Glance
from hms_svc.journal import Journal, JournalFile
from hms_svc.log import emit

LOOK_SECONDS = 1.0
STEADY_SECONDS = 0.1
HEALED_SHOWN_SECONDS = 60.0
UNREADABLE = "(unreadable edit)"
ASIDE = "rejected-conf.yml"


# `moving`: somebody is writing right now, look again in `STEADY_SECONDS`.
Sight: TypeAlias = Literal["same", "changed", "moving"]


class Watch:
    """conf.yml and the rendered files, as last seen. `now` is the monotonic clock."""

    def __init__(self, conf: str, rendered: tuple[str, ...], journal: Journal, store: JournalFile) -> None:
        self._conf = conf
        self._rendered = rendered
        self._journal = journal
        self._store = store
        self._seen: tuple[Glance | None, ...] | None = None
        self._moving: tuple[Glance | None, ...] | None = None
        self._moving_since = 0.0
        self._looked = False
        self._healed: tuple[str, ...] = ()
        self._healed_until = 0.0
        self._adopted = self._differences()
        self.next_look = 0.0

    def drift(self, now: float) -> tuple[str, ...]:
        """The key paths where somebody's edits joined the base, and those healed within the last minute."""
        healed = self._healed if now < self._healed_until else ()
        return tuple(sorted({*self._adopted, *healed}))

    def mark(self) -> None:
        """The files are as we left them: only what comes after this is somebody else's."""
        self._seen = self._glances()
        self._moving = None

    def look(self, now: float) -> Sight:
        """Take in what others wrote, once they are done; OSError or ValueError while there is no base yet."""
        self.next_look = now + LOOK_SECONDS
        glances = self._glances()
        if glances == self._seen:
            return "same"
        if self._foreign() and not self._steady(glances, now):
            self.next_look = now + STEADY_SECONDS
            return "moving"
        self._take_in(now)
        self._seen, self._moving = glances, None
        return "changed"

    def disturbed(self) -> bool:
        """Whether somebody wrote since the last look."""
        return self._glances() != self._seen

    def _foreign(self) -> bool:
        """Whether conf.yml holds something we never wrote. What is there at the very first look is taken as it is."""
        first, self._looked = not self._looked, True
        try:
            text = conf_file.read_text(self._conf)
        except (OSError, ValueError):
            return True
        if self._journal.base is None:
            return not (first and text)
        return text is not None and not self._journal.knows(text)

    def _steady(self, glances: tuple[Glance | None, ...], now: float) -> bool:
        """Whether the files have looked like this for a while: a writer empties a file before filling it."""
        if glances != self._moving:
            self._moving, self._moving_since = glances, now
        return now - self._moving_since >= STEADY_SECONDS

    def _glances(self) -> tuple[Glance | None, ...]:
        return tuple(conf_file.glance(path) for path in (self._conf, *self._rendered))

    def _take_in(self, now: float) -> None:
        journal = self._journal
        if journal.base is None or (journal.base == "" and journal.untouched):
            text = conf_file.read_text(self._conf) or ""
            mapping(text)
            journal.base = journal.origin = text
        else:
            self._compare(journal.base, now)
        self._adopted = self._differences()

    def _compare(self, base: str, now: float) -> None:
        try:
            text = conf_file.read_text(self._conf)
        except (OSError, ValueError) as error:
            self._reject(str(error), "", now)
            return
        if text is None or self._journal.knows(text):
            return
        if base.strip() and not text.strip():
            self._reject("the file was emptied", "", now)
        else:
            self._adopt(base, text, now)

    def _adopt(self, base: str, text: str, now: float) -> None:
        try:
            found = drift.adopt(base, self._journal.overlay, text)
        except ValueError as error:
            self._reject(str(error), self._store.keep_aside(ASIDE, text), now)
            return
        before = mapping(base)
        self._journal.base = found.base
        self._heal(found.healed, now)
        emit("drift", adopted=drift.differences(before, mapping(found.base)), healed=found.healed)

    def _reject(self, detail: str, kept: str, now: float) -> None:
        emit("drift", healed=[UNREADABLE], detail=detail, kept=kept)
        self._heal((UNREADABLE,), now)

    def _heal(self, paths: tuple[str, ...], now: float) -> None:
        if paths:
            self._healed, self._healed_until = paths, now + HEALED_SHOWN_SECONDS

    def _differences(self) -> tuple[str, ...]:
        base, origin = self._journal.base, self._journal.origin
        if base is None or base == origin:
            return ()
        return tuple(drift.differences(mapping(origin), mapping(base)))
