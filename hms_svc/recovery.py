"""Finds the base again after the journal was lost, or says aloud that it may be lost with it.

Without the base, conf.yml as it stands would become it. That is right at a first start and wrong after a loss, and the
file alone cannot tell. So the others who may know are asked in turn: the copy beside conf.yml, what is left of a
journal nobody can read, the files that proved themselves. Whatever hints at a loss and cannot be made good is said in
the log and stays in the reports until conf.yml shows another base.
"""

import json
from collections.abc import Iterator
from typing import Any

from hms_svc.base_copy import BaseCopy, Copy, made_of
from hms_svc.candidate import Candidate, mapping
from hms_svc.conf_file import peek, sha, words
from hms_svc.drift import changes
from hms_svc.journal import Imprint, Journal, document_of, imprint_of, understood
from hms_svc.log import emit
from hms_svc.merge import merge, same

LOST = "the journal and the copy of the base are lost: conf.yml as it was found is the base, patched values and all"

TORN = (
    "the journal is lost, and of the copy of the base all but the base: whatever conf.yml had besides was taken out, "
    "a patch's or not; see rejected-conf.yml"
)

OLDER = "the journal and the copy of the base are lost: the base is the one of files that proved themselves earlier"

ALIKE = (
    "conf.yml as first found already held what the patches in force say: if its journal was lost, that is the base now"
)


def recover(journal: Journal, beside: BaseCopy, conf: str, *, spoilt: bool) -> None:
    """Give a journal without a base the one that others know, if that is where conf.yml comes from."""
    text = peek(conf)
    if journal.base is not None and (text is None or journal.knows(text)):
        return
    copy, complaint = _read(beside)
    if journal.base is not None:
        _meet(journal, copy, text, beside.path)
    elif copy is not None:
        _take(journal, copy, text, beside.path)
    elif (left := remains(journal.remains)) is not None:
        _take(journal, left, text, "what is left of the journal")
    else:
        proven = [good for good in journal.good if next(iter(good.texts)) == conf]
        lost = spoilt or bool(complaint) or any(good.ids for good in proven)
        if not _prove(journal, proven, text) and lost:
            _doubt(journal, LOST, complaint or "there is no copy of the base")
    journal.remains = ""


def _read(beside: BaseCopy) -> tuple[Copy | None, str]:
    """The copy, and why it cannot be read."""
    try:
        return beside.read(), ""
    except OSError as error:
        return None, words(error)
    except ValueError as error:
        return None, str(error)


def _meet(journal: Journal, copy: Copy | None, text: str | None, path: str) -> None:
    """A conf.yml of ours from another moment than the journal, as when one volume was restored: no edit."""
    if copy is None:
        return
    same_moment = not copy.imprints or copy.imprints[-1] in journal.imprints
    made = made_of(copy, text)
    if made is not None and (made.sha or not same_moment):
        journal.base = copy.base
        journal.unsynced.append(made)
        emit("base_recovered", path=path, patches=list(made.ids))


def _take(journal: Journal, copy: Copy, text: str | None, path: str) -> None:
    imprint = made_of(copy, text)
    if imprint is None and text and text.strip() and text != copy.base:
        if copy.whole:
            emit("base_copy_ignored", path=path, detail="conf.yml is not made of it: it is a base of its own")
            return
        imprint = _unknown(copy, text)
        _doubt(journal, TORN, path)
    journal.base, journal.origin, journal.written = copy.base, copy.origin, imprint
    if copy.doubt:
        journal.doubt = (copy.doubt, "")
    emit("base_recovered", path=path, patches=list(imprint.ids) if imprint else [])


def _unknown(copy: Copy, text: str) -> Imprint | None:
    """Which patches are in conf.yml is not known any more: whatever makes it differ is to be healed, and kept aside."""
    try:
        return Imprint("", changes(mapping(text), mapping(copy.base)), ())
    except ValueError:
        return None


def remains(text: str) -> Copy | None:
    """What the text of a journal nobody can read still says of the base; None where that is not whole."""
    if not text:
        return None
    try:
        return understood(lambda: _remains(text))
    except ValueError:
        return None


def _remains(text: str) -> Copy:
    fields = _fields(text)
    base = document_of(next(fields))
    try:
        origin, *made = fields
        return Copy(base, document_of(origin), [imprint for one in made if (imprint := imprint_of(one))])
    except ValueError:
        return Copy(base, base, [], whole=False)


def _fields(text: str) -> Iterator[Any]:
    """The base, the first base, what was written and what was to be; ValueError where the text ends before."""
    at = 0
    for name in ("base", "origin", "written", "writing"):
        before = f'"{name}": '
        value, at = json.JSONDecoder().raw_decode(text, text.index(before, at) + len(before))
        yield value


def _prove(journal: Journal, proven: list[Candidate], text: str | None) -> bool:
    """Ask the files that proved themselves; whether one without patches did, and conf.yml comes from that or another.

    It may be older than the last edit, and conf.yml may hold patches that did not prove themselves yet.
    """
    bare = next((good for good in proven if not good.ids and _made(good.conf, Imprint.of(good), good.conf)), None)
    if bare is None:
        return False
    base = bare.conf
    imprint = made_of(Copy(base, base, [Imprint.of(good) for good in reversed(proven)]), text)
    if imprint is None:
        return False
    journal.base = journal.origin = base
    journal.written = imprint if _made(base, imprint, text) else imprint._replace(sha="")
    emit("base_recovered", path="the files that proved themselves", patches=list(imprint.ids))
    if not imprint.sha or text is None or sha(text) != imprint.sha:
        _doubt(journal, OLDER, "conf.yml is none of them as it stands")
    return True


def _made(base: str, imprint: Imprint, text: str | None) -> bool:
    """Whether the text is exactly what this base and these patches make."""
    try:
        return text is not None and same(merge(mapping(base), imprint.overlay), mapping(text))
    except ValueError:
        return False


def suspect(journal: Journal, candidate: Candidate) -> None:
    """Doubt a base nobody vouches for that is what the first patches would make of it."""
    first = journal.untouched and journal.doubt is None
    if first and candidate.overlay and candidate.conf == journal.base:
        _doubt(journal, ALIKE, f"patches {list(candidate.ids)} change nothing")


def _doubt(journal: Journal, why: str, detail: str) -> None:
    journal.doubt = (why, "")
    emit("base_in_doubt", detail=detail)
