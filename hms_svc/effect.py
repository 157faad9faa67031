"""The second half of an attempt: tell the process that its files changed, and see that it works with them.

What is written or signalled is not yet applied: only an answer of the process counts, or, without a probe, that it is
still alive. A process that does not run is no failure, for it will start from the file on disk; it is waited for
without a deadline, and anything newer may take over meanwhile.
"""

from collections.abc import Generator, Iterator

from hms_svc import command, probe
from hms_svc.conf_file import words
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed
from hms_svc.process import ProcessRefused, ProcessUnseen
from hms_svc.render import gap_values
from hms_svc.scarcity import scarce

RELOAD_SECONDS = 10.0
MATCHES_NEEDED = 2
# nginx lets its old workers answer for another 100 ms beside the new ones: two lucky answers in a row prove nothing.
HOLD_SECONDS = 0.1
# A process that has only just started proves little by being there.
STARTED_HOLD_SECONDS = 1.0
# A master shows that it acted by new workers. Some reload without replacing any, so this is not waited for any longer.
SIGN_SECONDS = 1.0
PROBE_PACE_SECONDS = 0.02
COMMAND_PACE_SECONDS = 0.1
ALIVE_PACE_SECONDS = 0.04
PATIENT_PACE_SECONDS = 1.0
# Every probe has a limit below this. Only looking up its name has none, and is not begun again before it has ended.
PROBE_SECONDS = probe.COMMAND_SECONDS + 1.0
NO_ANSWER = probe.Answer(False, False, f"no answer from the probe within {PROBE_SECONDS:g} s: is its name resolved?")


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
        yield job.clock.now() + ALIVE_PACE_SECONDS


def _refusal(job: Job) -> str:
    """Signal it; why not, or "" when that is done, or nobody is there to be told."""
    try:
        job.reloaded = job.served.tell()
    except ProcessRefused as refusal:
        return str(refusal)
    return ""


class _Streak:
    """Good answers without a break between them."""

    def __init__(self) -> None:
        self._count, self._since = 0, 0.0

    def add(self, now: float, *, good: bool) -> None:
        self._count = self._count + 1 if good else 0
        self._since = now if self._count <= 1 else self._since

    def lasts(self, now: float, hold: float) -> bool:
        return self._count >= MATCHES_NEEDED and now - self._since >= hold


def confirm(job: Job) -> Iterator[Pause]:
    """Look until the process shows the new configuration without a break, or the deadline passes."""
    asked, streak, pace = _question(job), _Streak(), _pace(job)
    told_at = job.clock.now()
    while True:
        told, looked_at = job.reloaded, job.clock.now()
        answer = yield from _look(job, asked)
        now = job.clock.now()
        told_at = now if job.reloaded and not told else told_at
        streak.add(now, good=answer.matches and _acted(job, now - told_at))
        if streak.lasts(now, _hold(job)):
            return
        was_patient, job.patient = job.patient, not answer.answered and (job.served.absent or not job.fresh)
        if answer.answered and not answer.matches and job.served.untold and not job.reloaded:
            yield from reload(job)
            told_at = job.clock.now()
        if job.patient or was_patient:
            told_at = now
        elif not answer.matches and looked_at - told_at > job.settings.confirm_timeout:  # not before a stop of ours
            raise StageFailed("effective", _complaint(job, answer), surroundings=answer.scarce or job.served.unreached)
        pace = min(pace * 2, PATIENT_PACE_SECONDS) if job.patient else _pace(job)
        yield job.clock.now() + pace


def _acted(job: Job, waited: float) -> bool:
    """Whether the process was seen to act on the reload, or that was waited for long enough."""
    if not job.reloaded or waited > min(SIGN_SECONDS, job.settings.confirm_timeout / 2):
        return True
    try:
        return job.served.acted()
    except ProcessRefused:
        return True


def _hold(job: Job) -> float:
    """How long the answers must match: where nothing was reloaded, no old worker can be left over."""
    if job.served.restarted and job.settings.probe is None:
        return min(STARTED_HOLD_SECONDS, job.settings.confirm_timeout / 2)
    return HOLD_SECONDS if job.reloaded else 0.0


def _pace(job: Job) -> float:
    if job.settings.probe is None:
        return ALIVE_PACE_SECONDS
    return COMMAND_PACE_SECONDS if job.settings.probe.command else PROBE_PACE_SECONDS


def _question(job: Job) -> probe.Question | None:
    if job.settings.probe is None:
        return None
    values = gap_values(job.candidate.document, job.candidate.conf)
    return probe.question(job.settings.probe, values, job.settings.conf)


def _look(job: Job, asked: probe.Question | None) -> Generator[Pause, None, probe.Answer]:
    """What the probe says about the process there is, or, without one, whether there is a process."""
    try:
        there = job.served.follow()
    except ProcessRefused as refusal:
        return probe.Answer(False, True, str(refusal), isinstance(refusal, ProcessUnseen))
    job.reloaded = job.reloaded or job.served.told
    if job.served.deaf:
        return probe.Answer(False, True, job.served.words())
    if asked is None:
        return probe.Answer(there, there, job.served.words())
    answer = yield from _asked(job, asked)
    # A command's failure does not say whether there is anybody to fail.
    answered = answer.answered and not (asked.evidence.command and job.served.absent)
    return answer._replace(matches=answer.matches and _tells(job), answered=answered)


def _asked(job: Job, asked: probe.Question) -> Generator[Pause, None, probe.Answer]:
    """What the probe says, waited for and asked again in bounds."""
    job.unanswered[:] = [errand for errand in job.unanswered if not errand.done]
    if job.unanswered:
        return NO_ANSWER
    errand = Errand(job.bell, lambda: probe.ask(asked))
    errand.until = job.clock.now() + PROBE_SECONDS
    yield errand
    if not errand.done:
        job.unanswered.append(errand)
        return NO_ANSWER
    try:
        return errand.take()
    except OSError as error:
        return probe.Answer(False, False, f"cannot ask the probe: {words(error)}", scarce(error))


def _tells(job: Job) -> bool:
    """Whether a yes means anything: where nobody was told, only if it shows something of the document."""
    return not job.served.unreached or (job.settings.probe is not None and job.settings.probe.shows_values)


def _complaint(job: Job, answer: probe.Answer) -> str:
    return answer.words if job.settings.probe is None else f"{answer.words}; {job.served.words()}"
