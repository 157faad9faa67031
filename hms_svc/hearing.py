"""Everything the agent is told: taken from the link, verified, and either held or refused aloud.

A refusal changes nothing but a counter and one log line. What a message says is only believed after both
signatures.
"""

from hms_svc.desired import Desired
from hms_svc.link import Link
from hms_svc.log import Muffler, emit
from hms_svc.messages import Heartbeat, Patch, entry, read_entry, read_message
from hms_svc.report import Reporter
from hms_svc.source import Source
from hms_svc.timekeeper import Timekeeper
from hms_svc.trust import Trust
from hms_svc.wire import Refused


class Hearing:
    """The control plane's side of the agent. `now` is the monotonic clock."""

    def __init__(  # noqa: PLR0913, PLR0917 - the one place where these meet
        self,
        tenant: str,
        trust: Trust,
        desired: Desired,
        link: Link,
        source: Source,
        reporter: Reporter,
        keeper: Timekeeper,
    ) -> None:
        self._tenant = tenant
        self._trust = trust
        self._desired = desired
        self._link = link
        self._source = source
        self._reporter = reporter
        self._keeper = keeper
        self._head_asked_for = 0
        self._subscriptions = 0
        self._last_snapshot: int | None = None  # the hash of the one that was believed last
        self._known = self._mine()
        self._held = self._holding()
        self._stale = False
        self._muffler = Muffler()

    def listen(self, now: float) -> bool:
        """Take in whatever has arrived and ask for what is missing; True when the held patches changed."""
        # Read before judging silence: after a pause of our own the answers are waiting in the socket.
        self._take_all(self._link.receive(now), now)
        self._link.tend(now)
        if self._link.subscriptions != self._subscriptions:
            self._subscriptions = self._link.subscriptions
            self._reporter.hurry()
        self._ask(now)
        self._tell_staleness(self._keeper.at(now))
        return self.changed(now)

    def changed(self, now: float) -> bool:
        """Whether the held patches changed since this was asked last; new ones have their first receipts then."""
        if self._held == self._holding():
            return False
        self._held = self._holding()
        self._greet(now, self._keeper.at(now))
        return True

    def undisturbed(self, now: float) -> bool:
        """Whether nothing arrived, or only heartbeats with nothing new in them. Whatever it is, it is taken in."""
        self._link.gather(now)
        if self._link.inbox:
            before = self._standing(now)
            self._take_all(self._link.receive(now), now)
            if before != self._standing(now):
                return False
        self._link.tend(now)
        return self._link.listener is not None

    def _holding(self) -> tuple[int, bool]:
        return self._desired.revision, self._desired.complete

    def _standing(self, now: float) -> tuple[object, ...]:
        """All that a message can change here and that somebody must act on."""
        stale = self._desired.stale(self._keeper.at(now))
        return *self._holding(), self._desired.head, stale, self._keeper.jumps, dict(self._reporter.counted)

    def _tell_staleness(self, wall: float) -> None:
        """Say once that nothing fresh and signed comes any more, and once that it does again."""
        if (stale := self._desired.stale(wall)) != self._stale:
            self._stale = stale
            emit("stale" if stale else "fresh", revision=self._desired.revision)

    def _ask(self, now: float) -> None:
        if (found := self._source.arrived()) is not None:
            self._take_snapshot(found, now)
            self._source.settle(now, behind=self._desired.behind)
        if self._desired.behind and self._desired.head != self._head_asked_for:
            self._source.hasten(now)
            self._head_asked_for = self._desired.head
        if self._source.due(now):
            found = self._source.ask_redis(now)
            if found is not None:
                self._take_snapshot(found, now)
            if found is None or self._desired.behind:
                self._source.ask_mgt()
            self._source.settle(now, behind=self._desired.behind)

    def _take_snapshot(self, raw: bytes, now: float) -> None:
        """Most are the one that was taken last time: verifying it again would tell nothing."""
        if self._desired.behind or hash(raw) != self._last_snapshot:
            self._last_snapshot = hash(raw) if self._take(raw, now) else None

    def _take_all(self, arrived: list[bytes], now: float) -> None:
        for raw in arrived:
            self._take(raw, now)

    def _take(self, raw: bytes, now: float) -> bool:
        """Whether it was believed."""
        try:
            message = read_message(raw, self._trust, self._tenant)
            if isinstance(message, Heartbeat) or message.kind == "delta":  # a snapshot may be old
                self._keeper.hear(message.issued, now)
            self._desired.hear(message, self._keeper.at(now))
        except Refused as refusal:
            self.refuse(refusal, now)
            return False
        return True

    def believe(self, trust: Trust, now: float) -> bool:
        """Go by these keys from now on, for what is held as well; True when what is to be journalled changed for that.

        A patch whose decision no longer verifies goes at once, as it would at a restart. The snapshot is asked for in
        any case: what was refused a moment ago may be right by the new keys.
        """
        others = not trust.mgt.share(self._trust.mgt)
        self._trust = trust
        kept = {}
        for patch in self._desired.patches.values():
            try:
                kept[patch.id] = read_entry(
                    entry(patch.order, patch.admit_below, patch.envelope), trust, patch.tenant, patch.service
                )
            except Refused as refusal:
                self.refuse(refusal, now)
        dropped = len(kept) < len(self._desired.patches)
        self._desired.doubt(kept)
        if others:
            self._desired.count_anew()
        self._known, self._held = self._mine(), self._holding()
        self._source.hasten(now)
        return dropped or others

    def refuse(self, refusal: Refused, now: float) -> None:
        """Count it, and log it unless the same has been logged often enough."""
        self._reporter.refused(refusal.reason, now)
        if (more := self._muffler.pass_on(refusal.reason, now)) is not None:
            emit("refused", reason=refusal.reason, detail=refusal.detail, **more)

    def _mine(self) -> set[int]:
        return {patch.id for patch in self._desired.patches.values() if self._desired.mine(patch)}

    def _greet(self, now: float, wall: float) -> None:
        """Receipts for patches that are newly ours; one that came after its end is refused on its own."""
        mine = self._mine()
        new = sorted(mine - self._known)
        self._known = mine
        for stage in ("received", "verified"):
            self._reporter.receipt(new, stage, wall)
        for patch_id in new:
            if _over(self._desired.patches[patch_id], wall):
                self.refuse(Refused("expired", f"patch {patch_id} came after its end"), now)


def _over(patch: Patch, wall: float) -> bool:
    return any(edge is not None and edge <= wall for edge in (patch.end, patch.expires))
