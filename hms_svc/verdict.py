"""What the check command says of a candidate, and whether that speaks of the candidate at all.

A check that refuses everything (a broken tool, a wrong path, a missing include) speaks of itself. So a refusal counts
only when what stands already would pass: the files without the new patches, or where nothing is new the files in
effect. That is asked after a refusal, never on the good path.
"""

from collections.abc import Generator, Mapping

from hms_svc import command
from hms_svc.conf_file import words
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed

# A check may not hold a window open: without a verdict by then, the window's end is the law.
ENDING_CHECK_SECONDS = 0.15


def refusal(job: Job, temps: Mapping[str, str]) -> Generator[Pause, None, str]:
    """What the check has against the candidate in these temp files; "" where it has nothing, or may not hold it up.

    StageFailed where no verdict can be had now and something is new.
    """
    limit = _limit(job)
    if not job.settings.check or job.unchecked or (limit <= 0 and not job.fresh):
        return ""
    if limit <= 0:
        raise StageFailed("checked", "no time for a check before an ended patch has to go", hasty=True)
    try:
        result = yield from _ask(job, temps, limit)
    except OSError as error:
        if not job.fresh:
            return ""
        raise StageFailed("checked", _cannot_run(job, error), surroundings=True) from None
    if _passes(job, result):
        return ""
    if job.late_since is not None and job.fresh:  # what is new gets its trial when the ended patch is out
        raise StageFailed("checked", _said(job, result, limit), hasty=True)
    return _said(job, result, limit)


def doubt(job: Job, temps: Mapping[str, str]) -> Generator[Pause, None, str]:
    """What the check has against files that stand already, in these temp files; "" where nothing, or no time for it."""
    limit = _limit(job)
    if limit <= 0:
        return ""
    try:
        result = yield from _ask(job, temps, limit)
    except OSError as error:
        return _cannot_run(job, error)
    return "" if _passes(job, result) else _said(job, result, limit)


def _passes(job: Job, result: command.Result) -> bool:
    """Whether that is a yes. Where nothing is new there is little time for a verdict, and having none is no refusal."""
    return result.code == 0 or (result.code is None and not job.fresh)


def _ask(job: Job, temps: Mapping[str, str], limit: float) -> Generator[Pause, None, command.Result]:
    argv = command.filled(job.settings.check, [temps.get(path, path) for path in job.candidate.texts])
    errand = Errand(job.bell, lambda: command.run(argv, limit))
    yield errand
    return errand.take()


def _limit(job: Job) -> float:
    """Seconds for the check. The time an ending may wait for one is counted once, however many attempts it takes."""
    if job.late_since is not None:
        return job.late_since + ENDING_CHECK_SECONDS - job.clock.now()
    return command.CHECK_SECONDS if job.fresh else ENDING_CHECK_SECONDS


def _cannot_run(job: Job, error: OSError) -> str:
    return f"cannot run {job.settings.check[0]}: {words(error)}"


def _said(job: Job, result: command.Result, limit: float) -> str:
    how = f"no verdict within {limit:g} s" if result.code is None else f"exit {result.code}"
    return result.words or f"{job.settings.check[0]}: {how}"
