"""Tells the process that its files changed: by the command that was set, or by a signal.

Whom to signal, and who needs no signal, is known to `served`. Whether the process then works with them is for `effect`.
"""

from collections.abc import Iterator

from hms_svc import command
from hms_svc.conf_file import words
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed
from hms_svc.process import ProcessRefused

RELOAD_SECONDS = 10.0
AGAIN_SECONDS = 0.04


def reload(job: Job) -> Iterator[Pause]:
    """Tell the process, by command or signal; StageFailed when that is refused."""
    job.reloaded = True
    if job.settings.reload:
        yield from _reload_by_command(job)
    elif job.settings.reloads:
        yield from _reload_by_signal(job)


def _reload_by_command(job: Job) -> Iterator[Pause]:
    argv = job.settings.reload
    _remember(job)
    errand = Errand(job.bell, lambda: command.run(argv, RELOAD_SECONDS))
    yield errand
    try:
        result = errand.take()
    except OSError as error:
        raise StageFailed("reloaded", f"cannot run {argv[0]}: {words(error)}", surroundings=True) from None
    if result.code != 0:
        ended = "out of time" if result.code is None else f"exit {result.code}"
        raise StageFailed("reloaded", result.words or f"{argv[0]}: {ended}")


def _remember(job: Job) -> None:
    """How the process looks before the command. What cannot be found is the command's business."""
    try:
        job.served.tell()
    except ProcessRefused:
        return


def _reload_by_signal(job: Job) -> Iterator[Pause]:
    """Signal the process. One that does not run is no failure: it will start from the file on disk.

    Nor is one that must not be signalled yet: a pid file of the last run may name anybody until it is written anew.
    Where that lasts, the files are right and nobody can be told: no patch is to blame.
    """
    until = job.clock.now() + job.settings.confirm_timeout
    while refusal := _refusal(job):
        if job.clock.now() > until:
            raise StageFailed("reloaded", refusal, surroundings=True)
        yield job.clock.now() + AGAIN_SECONDS


def _refusal(job: Job) -> str:
    """Signal it; why not, or "" when that is done, or nobody is there to be told."""
    try:
        job.reloaded = job.served.tell()
    except ProcessRefused as refusal:
        return str(refusal)
    return ""
