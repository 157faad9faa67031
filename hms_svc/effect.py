"""The last step of an attempt: see that the process works with its new files.

What is written or signalled is not yet applied: only an answer of the process counts, or, without a probe, that it is
still alive. A process that does not run is no failure, for it will start from the file on disk; it is waited for
without a deadline, and anything newer may take over meanwhile.
"""

from collections.abc import Generator, Iterator

from hms_svc import probe
from hms_svc.conf_file import words
from hms_svc.errand import Errand
from hms_svc.job import Job, Pause, StageFailed
from hms_svc.process import ProcessRefused, ProcessUnseen
from hms_svc.reload import reload
from hms_svc.render import gap_values
from hms_svc.scarcity import scarce

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


class _Proof:
    """What the answers of one process come to, one after the other."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._good, self._since = 0, 0.0  # good answers without a break between them, and since when
        self._reloaded = job.reloaded
        self.told_at = job.clock.now()  # since then it has had reason and time to show what is new
        self.pace = _pace(job)

    def add(self, answer: probe.Answer, now: float) -> None:
        """One more answer. Where the look itself met a process that had to be told, it has been told just now."""
        if self._job.reloaded and not self._reloaded:
            self.told(now)
        good = answer.matches and _acted(self._job, now - self.told_at)
        self._good = self._good + 1 if good else 0
        self._since = now if self._good <= 1 else self._since

    def told(self, now: float) -> None:
        """The process was told now."""
        self.told_at, self._reloaded = now, self._job.reloaded

    def complete(self, now: float) -> bool:
        """Whether good answers came for long enough."""
        return self._good >= MATCHES_NEEDED and now - self._since >= _hold(self._job)

    def bide(self, answer: probe.Answer, now: float) -> None:
        """See whether anybody is there to answer. Who does not run is waited for: ever more seldom, and for good."""
        job = self._job
        waited = job.patient
        job.patient = not answer.answered and (job.served.absent or not job.fresh)
        if job.patient or waited:
            self.told_at = now
        self.pace = min(self.pace * 2, PATIENT_PACE_SECONDS) if job.patient else _pace(job)


def confirm(job: Job) -> Iterator[Pause]:
    """Look until the process shows the new configuration without a break, or the deadline passes."""
    asked, proof = _question(job), _Proof(job)
    while True:
        began = job.clock.now()
        answer = yield from _look(job, asked)
        now = job.clock.now()
        proof.add(answer, now)
        if proof.complete(now):
            return
        proof.bide(answer, now)
        if _untold(job, answer):
            yield from reload(job)
            proof.told(job.clock.now())
        elif not answer.matches and began - proof.told_at > job.settings.confirm_timeout:  # not before a stop of ours
            raise StageFailed("effective", _complaint(job, answer), surroundings=answer.scarce or job.served.unreached)
        yield job.clock.now() + proof.pace


def _untold(job: Job, answer: probe.Answer) -> bool:
    """Whether nobody was told, for the files were as wanted, and the process shows that it does not know them."""
    return answer.answered and not answer.matches and job.served.untold and not job.reloaded


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
