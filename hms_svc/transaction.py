"""The transaction that makes a candidate real: check, write, reload, confirm, in that order and no other.

A generator: it reads as the list of steps it is, while each `yield` hands the loop what to wait for (an errand, or an
instant of the monotonic clock), so that windows go on ending while a check runs or a process is slow to show its new
configuration. Closing it abandons the attempt and removes its temp files.
"""

from collections.abc import Generator, Iterator, Mapping

from hms_svc import command
from hms_svc.conf_file import read_text, words
from hms_svc.effect import confirm, reload
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed
from hms_svc.staging import Staged

# A check may not hold a window open: without a verdict by then, the window's end is the law.
ENDING_CHECK_SECONDS = 0.15
# Two reload commands at once would be a race; but one that hangs is not waited for any longer.
ONE_RELOAD_SECONDS = 0.5
PACE_SECONDS = 0.01


def apply(job: Job) -> Generator[Pause, None, None]:
    """Make the candidate real; StageFailed when that did not work."""
    changed = _changed(job)
    if changed:
        with _stage(changed) as staged:
            yield from _check(job, staged)
            job.stages.append("checked")
            _write(job, staged)
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


def _check(job: Job, staged: Staged) -> Iterator[Pause]:
    if not job.settings.check or job.proven:
        return
    limit = _limit(job)
    if limit <= 0 and job.fresh:
        raise StageFailed("checked", "no time for a check before an ended patch has to go", hasty=True)
    if limit <= 0:
        return
    argv = command.filled(job.settings.check, [staged.temps.get(path, path) for path in job.candidate.texts])
    errand = Errand(job.bell, lambda: command.run(argv, limit))
    yield errand
    try:
        result = errand.take()
    except OSError as error:
        result = command.Result(None, f"cannot run {argv[0]}: {words(error)}")
        if command.scarce(error) and job.fresh:
            raise StageFailed("checked", result.words, surroundings=True) from None
    if result.code == 0 or (result.code is None and not job.fresh):
        return
    how = f"no verdict within {limit:g} s" if result.code is None else f"exit {result.code}"
    hasty = result.code is None and job.ends
    raise StageFailed("checked", result.words or f"{argv[0]}: {how}", hasty=hasty)


def _limit(job: Job) -> float:
    """Seconds for the check. The time an ending may wait for one is counted once, however many attempts it takes."""
    if job.ends:
        return job.check_by - job.clock.now()
    return command.CHECK_SECONDS if job.fresh else ENDING_CHECK_SECONDS


def _write(job: Job, staged: Staged) -> None:
    try:
        job.intend()
        staged.commit()
    except OSError as error:
        raise StageFailed("written", words(error), surroundings=True) from None
    job.written(staged.unsynced)
