"""An applier on real files, with the loop's part played by hand and a clock that is moved by hand.

A new bench in the same directories is what a restart is after a kill.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hms_svc.applier import Applier
from hms_svc.base_copy import BaseCopy
from hms_svc.errand import Errand
from hms_svc.journal import JournalFile
from hms_svc.ledger import Ledger
from hms_svc.messages import Patch
from hms_svc.recovery import recover
from hms_svc.rejected import Rejected
from hms_svc.report import Reporter, State
from hms_svc.settings import Settings
from hms_svc.trust import Trust
from hms_svc.watch import Watch
from hms_svc.wire import Pins

from .makers import BriefBell, Hands, patch

STEP_SECONDS = 0.05
STATE = State(0, (), "", "steady", {}, "", (), False)


class Bench:
    """The files' side of an agent."""

    def __init__(self, settings: Settings, hands: Hands) -> None:
        self.hands = hands
        self.settings = settings
        self.conf = Path(settings.conf)
        self.store = JournalFile(settings.state, "IACB", "API", "2.1.0")
        self.journal, _, spoilt = self.store.load(Trust(Pins(()), Pins(())))
        beside = BaseCopy(settings.conf)
        recover(self.journal, beside, settings.conf, spoilt=bool(spoilt))
        self.reporter = Reporter({})
        targets = tuple(target for _, target in settings.render)
        watch = Watch(settings.conf, targets, self.journal, Rejected(settings.state))
        self.ledger = Ledger(self.journal, self.store, self.reporter, beside)
        self.applier = Applier(settings, BriefBell(), hands.clock, watch, self.ledger)

    def again(self) -> "Bench":
        """The agent was killed and started again."""
        return Bench(self.settings, self.hands)

    def receipts(self) -> list[tuple[int, str]]:
        """The patches' stages that are to be told, in order."""
        return [(note["patch_id"], note["stage"]) for note in self.reporter.waiting()]

    def settle(self, *ids: int, seconds: float = 3.0) -> str:
        """Let time pass in small steps while these patches are wanted; the resulting file."""
        return self.pass_time([patch(number, {"a": number}) for number in ids], seconds)

    def pass_time(self, wanted: Sequence[Patch], seconds: float) -> str:
        end = self.hands.at + seconds
        real = time.monotonic() + 10
        while self.hands.at < end and time.monotonic() < real:
            self.applier.step(wanted)
            if self.busy:
                time.sleep(0.001)
            else:
                self.hands.forward(STEP_SECONDS)
        return self.conf.read_text()

    @property
    def busy(self) -> bool:
        """Whether something waits for a command or a probe, which take real time."""
        pauses: list[Any] = [self.applier._runner.pause, self.applier._bake._pause]
        return any(isinstance(pause, Errand) and not pause.done for pause in pauses)
