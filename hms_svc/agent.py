"""The sidecar's loop: receive -> verify -> select -> fold -> check -> write -> reload -> confirm -> receipt.

One thread acts; signals and errands only ring a bell. Each turn looks at everything in a fixed order and then
sleeps until the next thing is due, or until a look around, at every wake, finds something changed. Nothing a
network, a message, a disk or a served process does ends the loop; only SIGTERM and SIGINT do, with a last report.
"""

import os
import select
import signal
import time
from collections.abc import Callable
from typing import Any

from hms_svc.applier import Applier
from hms_svc.base_copy import BaseCopy
from hms_svc.candidate import Candidate
from hms_svc.clock import REAL, TICK_SECONDS, Clock, boot_id
from hms_svc.desired import Desired
from hms_svc.errand import Bell
from hms_svc.hearing import Hearing
from hms_svc.journal import JournalFile
from hms_svc.keyring import Keyring
from hms_svc.ledger import Ledger
from hms_svc.link import Link
from hms_svc.listener import Listener
from hms_svc.log import emit
from hms_svc.merge import digest
from hms_svc.recovery import recover
from hms_svc.rejected import Rejected
from hms_svc.report import Reporter, State
from hms_svc.scarcity import Reserve
from hms_svc.settings import Settings
from hms_svc.source import Source
from hms_svc.timekeeper import Jump, Timekeeper
from hms_svc.watch import Watch

ONCE_SECONDS = 60.0
AFTER_ERROR_SECONDS = 0.25
AHEAD = (
    "stream: revision {} is held and the control plane is behind it: all it sends is refused as replayed; "
    "was its database restored, or our journal damaged?"
)
LONGEST_REST_SECONDS = 5.0  # so often there is a turn, whatever the looks say


class Agent:
    """One instance's agent."""

    def __init__(self, settings: Settings, keyring: Keyring, bell: Bell, link: Link, clock: Clock = REAL) -> None:
        self._settings = settings
        self._keyring = keyring
        self._bell = bell
        self._link = link
        self._stopping = False
        self._error = ""
        store = JournalFile(settings.state, settings.tenant, settings.service, settings.version)
        journal, refused, spoilt = store.load(keyring.trust)
        if spoilt:
            emit("journal_moved_aside", detail=spoilt)
        journal.signers = keyring.trust.mgt.names
        beside = BaseCopy(settings.conf)
        recover(journal, beside, settings.conf, spoilt=bool(spoilt))
        self._faces = clock
        self._keeper = Timekeeper(*clock.read(), boot_id(), journal.seen)
        # Everybody but the timekeeper goes by the judged time.
        self._clock = clock = Clock(clock.now, lambda: self._keeper.at(self._faces.now()))
        self._journal = journal
        self._jump_told: Jump | None = None
        self._named: Candidate | None = None  # what is in effect, and its digest
        self._name = digest({})
        self._listener = Listener(settings)
        self._reserve = Reserve()
        self._ready: list[int] = []  # descriptors on which something waits
        self._began = self._turned = clock.now()
        self._acted = clock.wall()  # up to when windows were judged
        self._desired = Desired(settings.service, settings.version, settings.instance, clock.wall())
        self._desired.restore(journal.revision, journal.patches, journal.latches, complete=journal.complete)
        self._reporter = Reporter(_who(settings))
        self._source = Source(settings, self._bell, self._link)
        self._hearing = Hearing(
            settings.tenant, keyring.trust, self._desired, self._link, self._source, self._reporter, self._keeper
        )
        self._watch = Watch(
            settings.conf, tuple(target for _, target in settings.render), journal, Rejected(settings.state)
        )
        self._ledger = ledger = Ledger(journal, store, self._reporter, beside)
        self._applier = Applier(settings, self._bell, clock, self._watch, ledger)
        for refusal in refused:
            self._hearing.refuse(refusal, clock.now())
        self._refused_before = dict(self._reporter.counted)  # nobody said it in this run: the journal is spoilt

    def run(self) -> None:
        """Work until told to stop."""
        self._arm()
        emit("started", instance=self._settings.instance, revision=self._desired.revision)
        while not self._stopping:
            self._safely(self._turn)
            self._safely(self._answer)
            self._safely(self._sleep)
        self._farewell()

    def run_once(self) -> bool:
        """Load the snapshot, apply, confirm, report; whether all of it worked."""
        self._arm()
        deadline = self._clock.now() + ONCE_SECONDS
        while not self._stopping and self._clock.now() < deadline:
            self._safely(self._turn)
            self._safely(self._answer)
            if self._arrived():
                break
            self._safely(self._sleep)
        self._listener.close()
        return self._heard() and self._applier.phase == "steady" and self._tell(bye=False)

    def _turn(self) -> None:
        """Own timers first: an ended window goes before anybody is asked anything."""
        self._look_at_the_clock()
        self._reserve.look(self._clock.now())
        self._act(changed=self._hearing.changed(self._clock.now()))
        dropped = self._look_at_the_keys()
        if self._hearing.listen(self._clock.now()) or dropped:
            self._act(changed=True)
        if self._reporter.due(self._state(), self._clock.now()):
            self._tell(bye=False)
        self._turned = self._clock.now()

    def _act(self, *, changed: bool) -> None:
        """Remember what is held before anything is done about it."""
        if changed:
            self._remember()
        wall = self._clock.wall()
        self._applier.step(self._desired.wanted(wall))
        self._acted = wall

    def _remember(self) -> None:
        self._applier.hold(self._desired.revision, self._desired.patches)

    def _answer(self) -> None:
        """Tell those who ask how we are."""
        self._listener.serve(self._ready, self._clock.now(), self.view, scarce=self._reserve.spent)

    def _look_at_the_keys(self) -> bool:
        """Go by other keys when the trust file has moved on; whether what is held changed for that."""
        now = self._clock.now()
        if not self._keyring.look(now, self._clock.wall()):
            return False
        self._journal.signers = self._keyring.trust.mgt.names
        return self._hearing.believe(self._keyring.trust, now)

    def _look_at_the_clock(self) -> None:
        now, wall = self._faces.read()
        self._keeper.tick(now, wall)
        self._journal.seen = self._keeper.seen(now)
        jump = self._keeper.jump
        if jump is not None and jump != self._jump_told:
            known = self._jump_told is not None and jump.now == self._jump_told.now
            self._jump_told = jump
            event = "clock_settled" if known else "clock_jumped"
            emit(event, seconds=round(jump.seconds, 3), judge=jump.judge, detail=jump.words())

    def _trouble(self) -> str:
        """What people should know: why files cannot be as wanted, and what the clock does to windows."""
        now = self._clock.now()
        early = self._desired.ended_early(self._keeper.at(now))
        gone = f"clock: {early} ended early by a clock set forward, and do not begin again here" if early else ""
        old = AHEAD.format(self._desired.revision) if self._desired.overtaken else ""
        return "; ".join(
            filter(None, (self._applier.trouble(), self._keyring.trouble, self._keeper.words(now), gone, old))
        )

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
        """Until there is something to do. A wake at which all is as it was ends here: a turn would cost twice that."""
        poll = select.poll()
        poll.register(self._bell.reader, select.POLLIN)
        if (listener := self._link.listener) is not None:
            poll.register(listener, select.POLLIN)
        self._listener.register(poll, self._clock.now())
        due, resting = self._due(), True
        rides = min(due, self._rides())
        while resting and not self._stopping:
            self._ready = [fd for fd, _ in poll.poll(max(0.0, self._next_wake(due)) * 1000 + 1)]
            resting = self._ready in ([], [listener]) and self._nothing_new(rides)
        if self._bell.reader in self._ready:
            self._bell.hush()

    def _next_wake(self, due: float) -> float:
        """Seconds until the next thing is due; a tick at most, so that an edit or a stepped clock is noticed."""
        now = self._clock.now()
        return min(due, now + TICK_SECONDS, self._link.wake_at()) - now

    def _nothing_new(self, due: float) -> bool:
        """Whether all that is looked at is as it was, and nothing is due."""
        now, wall = self._faces.read()
        return (
            now < due
            and self._keeper.goes_on(now, wall)
            and self._hearing.undisturbed(now)
            and self._applier.undisturbed(now)
            and self._keyring.undisturbed(now)
        )

    def _due(self) -> float:
        """When to wake for the next turn, if nothing happens before (monotonic)."""
        now, wall = self._clock.now(), self._clock.wall()
        times = [self._applier.wake_at(), self._source.wake_at(), self._listener.wake_at()]
        # An edge that passed since, while somebody was waited for, is due now.
        edges = (self._desired.next_edge(self._acted), self._desired.stale_at(wall))
        times += [now + edge - wall for edge in edges if edge is not None]
        return min(times)

    def _rides(self) -> float:
        """When the first wake that comes anyway should become a turn: for what need not be punctual."""
        times = [self._clock.now() + LONGEST_REST_SECONDS, self._source.due_at]
        if self._link.up:
            times.append(self._reporter.due_at)
        return min(times)

    def _state(self) -> State:
        effective = self._applier.effective
        if effective is not self._named:
            self._named, self._name = effective, effective.digest if effective else digest({})
        return State(
            revision=self._desired.revision,
            active=effective.ids if effective else (),
            digest=self._name,
            phase=self._applier.phase,
            failed=self._applier.failures(),
            trouble=self._trouble(),
            clock=self._keeper.report(),
            drift=self._watch.drift(self._clock.now()),
            stale=self._desired.stale(self._clock.wall()),
        )

    def view(self, each: bool) -> dict[str, Any]:  # noqa: FBT001 - called by position, through the listener
        """The agent's account of itself, for whoever asks; with each patch or without."""
        from hms_svc import status_view  # noqa: PLC0415 - nobody may ever ask

        now, wall = self._clock.now(), self._clock.wall()
        running = status_view.Running(
            up_for=now - self._began,
            failing_for=now - self._turned,
            error=self._error,
            link_up=self._link.up,
            reconnects=max(0, self._link.subscriptions - 1),
            word_age=self._desired.word_age(wall),
            answered=self._source.answered,
            in_effect=self._applier.effective is not None,
            last_apply=self._applier.last_apply,
            attempts=self._ledger.attempts,
            receipts=self._reporter.told,
            refused=self._reporter.counted,
        )
        whole = status_view.of_running(self._settings, self._desired, self._journal, self._state(), running, wall)
        return whole | status_view.each(self._desired, self._journal, wall) if each else whole

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

    def _heard(self) -> bool:
        """For `--once`: somebody answered, and what they said could be believed."""
        from hms_svc.status_text import distrusted  # noqa: PLC0415 - `run` needs none of it

        before = self._refused_before
        refused = {reason: many for reason, many in self._reporter.counted.items() if many > before.get(reason, 0)}
        return self._source.answered and not distrusted(refused)

    def _farewell(self) -> None:
        if self._hearing.changed(self._clock.now()):  # a delta came at the last wake
            self._safely(self._remember)
        self._safely(self._applier.leave)
        self._safely(lambda: self._tell(bye=True))
        self._link.close()
        self._listener.close()
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
