"""Keeps an eye on the files: finds the base at the first start, and notices when somebody else writes.

A look is a stat; the file is read only when that changed. Writers empty a file before they fill it, so an edit counts
once it has stood still for a moment. An edit that is no YAML, or nothing at all, cannot join the base: it is kept
aside, and the file is healed whole, because the served process must always be able to start from it.
"""

from collections.abc import Mapping
from typing import Literal, TypeAlias

from hms_svc import conf_file, drift
from hms_svc.candidate import mapping
from hms_svc.clock import PAUSE_SECONDS
from hms_svc.conf_file import TEXT_BYTES, Glance
from hms_svc.journal import Imprint, Journal, overlay_of
from hms_svc.log import emit
from hms_svc.old_file import OldFile
from hms_svc.rejected import Rejected
from hms_svc.scarcity import scarce

STEADY_SECONDS = 0.1
HEALED_SHOWN_SECONDS = 60.0
UNREADABLE = "(unreadable edit)"


# `moving`: somebody is writing right now, look again in `STEADY_SECONDS`. `spoilt`: no process could start from this.
Sight: TypeAlias = Literal["same", "changed", "spoilt", "moving"]


class Watch:
    """conf.yml and the rendered files, as last seen. `now` is the monotonic clock."""

    def __init__(self, conf: str, rendered: tuple[str, ...], journal: Journal, rejected: Rejected) -> None:
        self._conf = conf
        self._rendered = rendered
        self._journal = journal
        self._rejected = rejected
        self._old = OldFile(conf)
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

    def mark(self, texts: Mapping[str, str]) -> None:
        """We wrote these: what comes after is somebody else's. Read again, for somebody may have been quicker."""
        glances = self._glances()
        ours = all(_holds(path, text) for path, text in texts.items())
        self._seen, self._moving = glances if ours else None, None
        self._old.placed()

    def undisturbed(self, now: float) -> bool:
        """Whether the files are as they were when last looked at; that counts as a look."""
        if now >= self.next_look:
            if self._old.held or self._glances() != self._seen:
                return False
            self.next_look = now + PAUSE_SECONDS
        return True

    def wake_at(self) -> float:
        """When to look, where that cannot wait for the next wake."""
        return self.next_look if self._moving or self._old.held else float("inf")

    def look(self, now: float) -> Sight:
        """Take in what others wrote, once they are done; OSError or ValueError while there is no base yet."""
        self.next_look = now + PAUSE_SECONDS
        if self._old.stirred:
            return self._look_at_the_old_one(now)
        self._old.rest(now)
        glances = self._glances()
        if glances == self._seen:
            return "same"
        if self._as_effective():
            self._seen, self._moving = glances, None
            return "same"
        if self._foreign() and not self._steady(glances, now):
            self.next_look = now + STEADY_SECONDS
            return "moving"
        sight = self._take_in(now)
        self._seen, self._moving = glances, None
        return sight

    def disturbed(self) -> bool:
        """Whether somebody wrote since the last look. From here to `mark` the file is held, to see who writes last.

        Should it be replaced all the same, for nobody can be waited for any longer, it is read after that.
        """
        self._old.open(self._journal.written)
        wrote = self._glances() != self._seen
        if wrote:
            self._old.unread()
        return wrote

    def _as_effective(self) -> bool:
        """Whether the files say what is in effect: somebody touched them, or saved them as they were."""
        journal = self._journal
        if self._seen is None or journal.writing is not None:
            return False
        try:
            texts = [conf_file.read_text(path) for path in (self._conf, *self._rendered)]
        except (OSError, ValueError):
            return False
        found = [text for text in texts if text is not None]
        whole = len(found) == len(texts) and journal.knows(found[0])
        return whole and conf_file.sha(*found) == journal.effective_sha

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

    def _take_in(self, now: float) -> Sight:
        journal = self._journal
        sight: Sight = "changed"
        if journal.base is None or (journal.base == "" and journal.untouched):
            text = conf_file.read_text(self._conf) or ""
            mapping(text)
            journal.base = journal.origin = text
        else:
            sight = self._compare(journal.base, now)
        self._adopted = self._differences()
        return sight

    def _look_at_the_old_one(self, now: float) -> Sight:
        """Somebody wrote to the file that ours replaced: the name is ours, the words are theirs."""
        if self._old.moving(now, STEADY_SECONDS):
            self.next_look = now + STEADY_SECONDS
            return "moving"
        edited, made, base = self._old.take(), self._old.made, self._journal.base or ""
        try:
            text = _text(edited)
            if text == base or (made and made.sha == conf_file.sha(text)):  # somebody only touched it
                return "same"
            self._adopt(base, [made] if made else [], text, now)
        except ValueError as error:
            self._reject(str(error), self._stored(edited) if edited else "", now)
        self._adopted = self._differences()
        return "changed"

    def _compare(self, base: str, now: float) -> Sight:
        try:
            text = conf_file.read_text(self._conf)
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and scarce(error):  # that says nothing about the file: look again
                raise
            return self._reject(str(error), self._rejected.keep(self._conf), now)
        if text is None:
            return "spoilt"
        if self._journal.knows(text):
            return "changed"
        if base.strip() and not text.strip():
            return self._reject("the file was emptied", "", now)
        try:
            self._adopt(base, self._journal.imprints, text, now)
        except ValueError as error:
            return self._reject(str(error), self._stored(text.encode()), now)
        return "changed"

    def _adopt(self, base: str, made: list[Imprint], text: str, now: float) -> None:
        """Take over an edit of a conf.yml that was made of the base, as one of these imprints says."""
        found = drift.adopt(base, overlay_of(made), text, self._journal.proven(made))
        before = mapping(base)
        self._journal.base = found.base
        self._heal(found.healed, now)
        kept = {"kept": self._stored(text.encode())} if found.healed else {}
        emit("drift", adopted=drift.differences(before, mapping(found.base)), healed=found.healed, **kept)

    def _stored(self, content: bytes) -> str:
        try:
            return self._rejected.store(content)
        except OSError:
            return ""

    def _reject(self, detail: str, kept: str, now: float) -> Sight:
        emit("drift", healed=[UNREADABLE], detail=detail, kept=kept)
        self._heal((UNREADABLE,), now)
        return "spoilt"

    def _heal(self, paths: tuple[str, ...], now: float) -> None:
        if paths:
            self._healed, self._healed_until = paths, now + HEALED_SHOWN_SECONDS

    def _differences(self) -> tuple[str, ...]:
        base, origin = self._journal.base, self._journal.origin
        if base is None or base == origin:
            return ()
        return tuple(drift.differences(mapping(origin), mapping(base)))


def _text(content: bytes) -> str:
    """As `read_text` would say it; ValueError where it would, and when nothing is left."""
    if len(content) > TEXT_BYTES:
        raise ValueError(f"larger than {TEXT_BYTES} bytes")
    if not content.strip():
        raise ValueError("the file was emptied")
    return content.decode()


def _holds(path: str, text: str) -> bool:
    try:
        return conf_file.read_text(path) == text
    except (OSError, ValueError):
        return False
