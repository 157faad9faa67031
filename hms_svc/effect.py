"""The second half of an attempt: tell the process that its files changed, and see that it works with them.

What is written or signalled is not yet applied: only an answer of the process counts, or, without a probe, that it is
still alive. A process that does not run is no failure, for it will start from the file on disk; it is waited for
without a deadline, and anything newer may take over meanwhile.
"""

from collections.abc import Generator, Iterator

from hms_svc import command, probe, process
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed, words

RELOAD_SECONDS = 10.0
MATCHES_NEEDED = 2
# nginx lets its old workers answer for another 100 ms beside the new ones: two lucky answers in a row prove nothing.
HOLD_SECONDS = 0.1
PROBE_PACE_SECONDS = 0.02
ALIVE_PACE_SECONDS = 0.04
PATIENT_PACE_SECONDS = 1.0


def reload(job: Job) -> Iterator[Pause]:
    """Tell the process, by command or signal; StageFailed when that is refused."""
    job.reloaded = True
    if job.settings.reload:
        yield from _reload_by_command(job)
    elif job.settings.reloads:
        _reload_by_signal(job)


def _reload_by_command(job: Job) -> Iterator[Pause]:
    argv = job.settings.reload
    errand = Errand(job.bell, lambda: command.run(argv, RELOAD_SECONDS))
    yield errand
    try:
        result = errand.take()
    except OSError as error:
        raise StageFailed("reloaded", f"cannot run {argv[0]}: {words(error)}") from None
    if result.code != 0:
        ended = "out of time" if result.code is None else f"exit {result.code}"
        raise StageFailed("reloaded", result.words or f"{argv[0]}: {ended}")


def _reload_by_signal(job: Job) -> None:
    """Signal the process. One that does not run is no failure: it will start from the file on disk."""
    try:
        job.process = process.find(job.settings.pidfile, job.settings.process)
        sent = job.process is not None and process.send(job.process, job.settings.signal)
    except process.ProcessRefused as refusal:
        raise StageFailed("reloaded", str(refusal)) from None
    job.absent = not sent
    job.reloaded = sent


def confirm(job: Job) -> Iterator[Pause]:
    """Look until the process shows the new configuration without a break, or the deadline passes."""
    asked = _question(job)
    matches, since, pace = 0, 0.0, _pace(job)
    deadline = job.clock.now() + job.settings.confirm_timeout
    while True:
        answer = yield from _look(job, asked)
        matches = matches + 1 if answer.matches else 0
        since = job.clock.now() if matches <= 1 else since
        if matches >= MATCHES_NEEDED and job.clock.now() - since >= _hold(job):
            return
        job.patient = not answer.answered and (job.absent or not job.fresh)
        if answer.answered and not answer.matches and not job.reloaded:
            yield from reload(job)
            deadline = job.clock.now() + job.settings.confirm_timeout
        if job.patient:
            deadline = job.clock.now() + job.settings.confirm_timeout
        elif job.clock.now() > deadline:
            raise StageFailed("effective", answer.words)
        pace = min(pace * 2, PATIENT_PACE_SECONDS) if job.patient else _pace(job)
        yield job.clock.now() + pace


def _hold(job: Job) -> float:
    """How long the answers must match: where nothing was reloaded, no old worker can be left over."""
    return HOLD_SECONDS if job.reloaded else 0.0


def _pace(job: Job) -> float:
    return PROBE_PACE_SECONDS if job.settings.probe else ALIVE_PACE_SECONDS


def _question(job: Job) -> probe.Question | None:
    if job.settings.probe is None:
        return None
    return probe.question(job.settings.probe, job.settings.probe_header, job.candidate.document)


def _look(job: Job, asked: probe.Question | None) -> Generator[Pause, None, probe.Answer]:
    if asked is None:
        return _look_at_process(job)
    errand = Errand(job.bell, lambda: probe.ask(asked))
    yield errand
    return errand.take()


def _look_at_process(job: Job) -> probe.Answer:
    """Without a probe: the process is still alive after the reload, or it started since, from the file on disk."""
    if job.settings.reload or not job.settings.reloads:
        return probe.Answer(True, True, "nothing to look at")
    try:
        found = job.process or process.find(job.settings.pidfile, job.settings.process)
    except process.ProcessRefused as refusal:
        return probe.Answer(False, False, str(refusal))
    if found is None:
        return probe.Answer(False, False, "the served process does not run")
    if job.process is not None and not process.alive(job.process):
        return probe.Answer(False, False, f"pid {found.pid} ({found.name}) ended after the reload")
    return probe.Answer(True, True, f"pid {found.pid} is alive")
