"""Finds the base again after the journal was lost, or says aloud that it may be lost with it.

Without either, conf.yml as it stands becomes the base. That is right at a first start and wrong after a loss, and the
file alone cannot tell; so whatever hints at a loss is said in the log and stays in the reports until conf.yml shows
another base.
"""

from hms_svc.base_copy import BaseCopy, Copy, made_of
from hms_svc.candidate import Candidate
from hms_svc.conf_file import peek, sha, words
from hms_svc.journal import Journal
from hms_svc.log import emit

LOST = "the journal and the copy of the base are lost: conf.yml as it was found is the base, patched values and all"

ALIKE = (
    "conf.yml as first found already held what the patches in force say: if its journal was lost, that is the base now"
)


def recover(journal: Journal, beside: BaseCopy, conf: str, *, spoilt: bool) -> None:
    """Give a journal without a base the one kept beside conf.yml, if that is where conf.yml comes from."""
    if journal.base is not None:
        _meet(journal, beside, peek(conf))
        return
    try:
        copy = beside.read()
    except (OSError, ValueError) as error:
        _doubt(journal, LOST, words(error) if isinstance(error, OSError) else str(error))
        return
    if copy is not None:
        _take(journal, copy, peek(conf), beside.path)
    elif spoilt:
        _doubt(journal, LOST, "there is no copy of the base")


def _meet(journal: Journal, beside: BaseCopy, text: str | None) -> None:
    """A conf.yml of ours from another moment than the journal, as when one volume was restored: no edit."""
    if text is None or journal.knows(text):
        return
    try:
        copy = beside.read()
    except (OSError, ValueError):
        return
    imprints = copy.imprints if copy else []
    made = next((imprint for imprint in reversed(imprints) if imprint.sha == sha(text)), None)
    if copy and made:
        journal.base = copy.base
        journal.unsynced.append(made)
        emit("base_recovered", path=beside.path, patches=list(made.ids))


def suspect(journal: Journal, candidate: Candidate) -> None:
    """Doubt a base nobody vouches for that is what the first patches would make of it."""
    first, conf = journal.untouched and journal.doubt is None, next(iter(candidate.texts.values()))
    if first and candidate.overlay and conf == journal.base:
        _doubt(journal, ALIKE, f"patches {list(candidate.ids)} change nothing")


def _take(journal: Journal, copy: Copy, text: str | None, path: str) -> None:
    imprint = made_of(copy, text)
    if imprint is None and text != copy.base:
        emit("base_copy_ignored", path=path, detail="conf.yml is not made of it: it is a base of its own")
        return
    journal.base, journal.origin, journal.written = copy.base, copy.origin, imprint
    emit("base_recovered", path=path, patches=list(imprint.ids) if imprint else [])


def _doubt(journal: Journal, why: str, detail: str) -> None:
    journal.doubt = (why, "")
    emit("base_in_doubt", detail=detail)
