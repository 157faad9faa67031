"""The transaction that makes a candidate real: check, write, reload, confirm, in that order and no other.

A generator: it reads as the list of steps it is, while each `yield` hands the loop what to wait for (an errand, or an
instant of the monotonic clock), so that windows go on ending while a check runs or a process is slow to show its new
configuration. Closing it abandons the attempt and removes its temp files.
"""

from collections.abc import Generator, Iterator, Mapping

from hms_svc.conf_file import read_text, words
from hms_svc.effect import confirm
from hms_svc.job import Job, Pause, StageFailed
from hms_svc.log import emit
from hms_svc.reload import reload
from hms_svc.staging import Staged
from hms_svc.verdict import doubt, refusal

# Two reload commands at once would be a race; but one that hangs is not waited for any longer.
ONE_RELOAD_SECONDS = 0.5
PACE_SECONDS = 0.01


def apply(job: Job) -> Generator[Pause, None, None]:
    """Make the candidate real; StageFailed when that did not work."""
    changed = _changed(job)
    if changed:
        yield from _replace(job, changed)
    job.placed = True
    job.in_place()
    job.stages += ["written"] if changed else ["checked", "written"]
    if changed or job.must_reload:
        yield from _alone(job)
        yield from reload(job)
    job.told = True
    job.stages.append("reloaded")
    yield from confirm(job)


def _alone(job: Job) -> Iterator[Pause]:
    """Let the reload command of an attempt that gave way come to its end first."""
    until = job.clock.now() + ONE_RELOAD_SECONDS
    while job.before is not None and not job.before.done and job.clock.now() < until:
        yield job.clock.now() + PACE_SECONDS


def _changed(job: Job) -> dict[str, str]:
    """The files that are not yet as wanted."""
    return {path: text for path, text in job.candidate.texts.items() if _differs(path, text)}


def _differs(path: str, text: str) -> bool:
    """Whether the file must be written. A missing file and an empty one are the same; an unreadable one is replaced."""
    try:
        return (read_text(path) or "") != text
    except (OSError, ValueError):
        return True


def _stage(texts: Mapping[str, str]) -> Staged:
    try:
        return Staged(texts)
    except OSError as error:
        raise StageFailed("written", words(error), surroundings=True) from None


def _replace(job: Job, changed: Mapping[str, str]) -> Iterator[Pause]:
    """Put the candidate in place if nothing speaks against it."""
    with _stage(changed) as staged:
        refused = yield from refusal(job, staged.temps)
        if not refused:
            _write(job, staged)
            return
    yield from _weigh(job, changed, refused)
    with _stage(changed) as staged:
        _write(job, staged)


def _weigh(job: Job, changed: Mapping[str, str], refused: str) -> Iterator[Pause]:
    """A refusal counts where what stands already would pass. Otherwise nobody can check, and only an ending goes on."""
    standing = job.standing()
    with _stage({path: text for path, text in standing.items() if path in changed or _differs(path, text)}) as staged:
        against = (yield from doubt(job, staged.temps)) if standing else ""
    if not against:
        raise StageFailed("checked", refused)
    if job.fresh or job.late_since is None:
        raise StageFailed("checked", f"HMS_CHECK refuses what stands already, too: {against}", surroundings=True)
    emit("unchecked", detail=against, patches=job.candidate.ids)


def _write(job: Job, staged: Staged) -> None:
    job.stages.append("checked")
    try:
        job.intend()
        staged.commit()
    except OSError as error:
        raise StageFailed("written", words(error), surroundings=True) from None
    job.written(staged.unsynced)
