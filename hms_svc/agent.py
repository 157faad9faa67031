"""The sidecar's loop: receive -> verify -> select -> fold -> check -> write -> reload -> confirm -> receipt.

One thread acts; signals and errands only ring a bell. Each turn looks at everything in a fixed order and then
sleeps until the next thing is due. Nothing a network, a message, a disk or a served process does ends the
loop; only SIGTERM and SIGINT do, with a last report.
"""

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

from hms_svc.applier import Applier
from hms_svc.clock import REAL, Clock
from hms_svc.desired import Desired
from hms_svc.errand import Bell
from hms_svc.hearing import Hearing
from hms_svc.journal import JournalFile
from hms_svc.ledger import Ledger
from hms_svc.link import Link
from hms_svc.log import emit
from hms_svc.merge import digest
from hms_svc.report import Reporter, State
from hms_svc.settings import Settings
from hms_svc.source import Source
from hms_svc.watch import Watch
from hms_svc.wire import Trust

LONGEST_SLEEP_SECONDS = 1.0
ONCE_SECONDS = 60.0
AFTER_ERROR_SECONDS = 1.0


class Agent:
    """One instance's agent."""

    def __init__(self, settings: Settings, trust: Trust, clock: Clock = REAL) -> None:
        self._settings = settings
        self._clock = clock
        self._bell = Bell()
        self._stopping = False
        self._error = ""
        store = JournalFile(settings.state, settings.tenant, settings.service, settings.version)
        journal, refused, spoilt = store.load(trust)
        if spoilt:
            emit("journal_moved_aside", detail=spoilt)
        self._desired = Desired(settings.service, settings.version, settings.instance, clock.wall())
        self._desired.restore(journal.revision, journal.patches, complete=journal.complete)
        self._reporter = Reporter(_who(settings))
        self._link = Link(settings, self._bell)
        self._source = Source(settings, self._bell, self._link)
        self._hearing = Hearing(settings.tenant, trust, self._desired, self._link, self._source, self._reporter)
        self._watch = Watch(settings.conf, tuple(target for _, target in settings.render), journal, store)
        ledger = Ledger(journal, store, self._reporter)
        self._applier = Applier(settings, self._bell, clock, self._watch, ledger)
        for refusal in refused:
            self._hearing.refuse(refusal, clock.now())

    def run(self) -> None:
        """Work until told to stop."""
        self._arm()
        emit("started", instance=self._settings.instance, revision=self._desired.revision)
        while not self._stopping:
            self._safely(self._turn)
            self._sleep()
        self._farewell()

    def run_once(self) -> bool:
        """Load the snapshot, apply, confirm, report; whether all of it worked."""
        self._arm()
        deadline = self._clock.now() + ONCE_SECONDS
        while not self._stopping and self._clock.now() < deadline:
            self._safely(self._turn)
            if self._arrived():
                break
            self._sleep()
        return self._source.answered and self._applier.phase == "steady" and self._tell(bye=False)

    def _turn(self) -> None:
        """Own timers first: an ended window goes before anybody is asked anything."""
        self._applier.step(self._desired.wanted(self._clock.wall()))
        if self._hearing.listen(self._clock.now(), self._clock.wall()):
            self._applier.hold(self._desired.revision, self._desired.patches)
            self._applier.step(self._desired.wanted(self._clock.wall()))
        if self._reporter.due(self._state(), self._clock.now()):
            self._tell(bye=False)

    def _safely(self, work: Callable[[], object]) -> None:
        """A mistake of ours must not leave a window open: say it once and go on."""
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the loop outlives everything
            text = f"{type(error).__name__}: {error}"
            if text != self._error:
                emit("error", detail=text, where=_where(error))
            self._error = text
            time.sleep(AFTER_ERROR_SECONDS)

    def _sleep(self) -> None:
        poll = select.poll()
        poll.register(self._bell.reader, select.POLLIN)
        if (listener := self._link.listener) is not None:
            poll.register(listener, select.POLLIN)
        if not self._stopping:
            poll.poll(max(0.0, self._next_wake()) * 1000 + 1)
        self._bell.hush()

    def _next_wake(self) -> float:
        """Seconds until the next thing is due. At most one, so a stepped clock is noticed."""
        now, wall = self._clock.now(), self._clock.wall()
        times = [self._applier.wake_at(), self._link.wake_at(), self._source.wake_at()]
        if self._link.up:
            times.append(self._reporter.wake_at())
        spans = [at - now for at in times if at is not None]
        edge = self._desired.next_edge(wall)
        if edge is not None:
            spans.append(edge - wall)
        return min(*spans, LONGEST_SLEEP_SECONDS)

    def _state(self) -> State:
        effective = self._applier.effective
        return State(
            revision=self._desired.revision,
            active=effective.ids if effective else (),
            digest=effective.digest if effective else digest({}),
            phase=self._applier.phase,
            failed=self._applier.failures(),
            trouble=self._applier.trouble(),
            drift=self._watch.drift(self._clock.now()),
            stale=self._desired.stale(self._clock.wall()),
        )

    def _tell(self, *, bye: bool) -> bool:
        if not self._link.up:
            return False
        state = self._state()
        delivered = self._link.report(self._reporter.word(state, self._clock.wall(), bye=bye), self._clock.now())
        if delivered:
            self._reporter.delivered(state, self._clock.now())
        else:
            self._reporter.undelivered(self._clock.now())
        return delivered

    def _arrived(self) -> bool:
        """For `--once`: whoever could be asked has answered, and nothing is left to do."""
        return self._source.idle and self._applier.phase != "applying"

    def _farewell(self) -> None:
        self._safely(lambda: self._tell(bye=True))
        self._link.close()
        emit("stopped", instance=self._settings.instance)

    def _arm(self) -> None:
        signal.set_wakeup_fd(self._bell.writer, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)

    def _stop(self, *_: object) -> None:
        self._stopping = True


def _who(settings: Settings) -> dict[str, Any]:
    return {
        "instance": settings.instance,
        "service": settings.service,
        "version": settings.version,
        "url": settings.url or None,
        "pid": os.getpid(),
    }


def _where(error: BaseException) -> str:
    """File and line of a mistake (the traceback module would cost 0.3 MiB)."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
