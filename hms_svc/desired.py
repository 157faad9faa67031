"""What the control plane wants of this service: the held patches, and the rules by which they may change.

Pure: messages and instants in, a new state or a refusal out. The revision never goes back; a delta is taken
only on top of its predecessor; a gap, or a heartbeat that tells of more than we have, asks for a snapshot.
Pub/sub loses messages without a word, so a delta is a fast path and the snapshot is the truth.
"""

from collections.abc import Mapping

from hms_svc.latches import Latches
from hms_svc.layers import admitted, is_over, next_change, rank
from hms_svc.messages import MAX_PATCHES, Heartbeat, Patch, StreamMessage, advance
from hms_svc.selector import parse_selector
from hms_svc.wire import MAX_BYTES, Refused

FRESH_SECONDS = 30.0
LOWER_HEADS = 2


class Desired:
    """The stream as held by one instance. Instants are epoch seconds; `started` is when it began to listen."""

    def __init__(self, service: str, version: str, instance: str, started: float) -> None:
        self.service = service
        self.version = version
        self.instance = instance
        self.revision = 0
        self.patches: dict[int, Patch] = {}
        self.complete = True
        self.latches = Latches()
        self._admitted: list[Patch] | None = None
        self.head = 0  # the highest revision anybody trusted spoke of
        self._heartbeat = 0.0
        self._lower = 0  # how many heartbeats in a row spoke of an older revision than is held
        self._word = started  # silence is counted from here on

    def restore(self, revision: int, patches: dict[int, Patch], latches: Latches, *, complete: bool) -> None:
        """Take up what the journal held; the latches stay shared with it."""
        self.revision, self.patches, self.complete = revision, dict(patches), complete
        self.latches, self._admitted = latches, None
        self.head = revision

    def count_anew(self) -> None:
        """Other signers have other revisions. What is held stays until their snapshot is there."""
        self.revision = self.head = 0
        self.complete = False

    def doubt(self, patches: dict[int, Patch]) -> None:
        """Hold only these on, and ask for the snapshot even of the revision that is held."""
        self.patches, self.complete, self._admitted = dict(patches), False, None

    @property
    def behind(self) -> bool:
        """Whether a snapshot is needed to know what is wanted."""
        return self.head > self.revision or not self.complete

    def stale(self, now: float) -> bool:
        """Whether no fresh signed word came for too long."""
        self._word = min(self._word, now)  # a clock that was put back gives no credit
        return now - self._word > FRESH_SECONDS

    def stale_at(self, now: float) -> float | None:
        """When `stale` comes true, if nothing is heard before; None when it has."""
        return None if self.stale(now) else self._word + FRESH_SECONDS

    @property
    def overtaken(self) -> bool:
        """Whether the control plane's own head stays below what is held, so that all it says would be a replay.

        One such heartbeat may have been on its way when the last delta came.
        """
        return self._lower >= LOWER_HEADS

    def word_age(self, now: float) -> float:
        """Seconds since the last signed word, or since listening began."""
        return max(0.0, now - self._word)

    def hear(self, message: StreamMessage | Heartbeat, now: float) -> bool:
        """Take a verified message; True when the held patches changed. Refused when it must not be taken."""
        if isinstance(message, Heartbeat):
            self._beat(message, now)
            return False
        if message.kind == "delta":
            return self._delta(message, now)
        return self._snapshot(message, now)

    def _beat(self, beat: Heartbeat, now: float) -> None:
        if now - beat.issued > FRESH_SECONDS:
            raise Refused("expired", f"the heartbeat is {now - beat.issued:.0f} s old")
        if self._heartbeat > now + FRESH_SECONDS:  # by a clock that has been put right since
            self._heartbeat = 0.0
        if beat.issued <= self._heartbeat:
            raise Refused("replayed", "a heartbeat as new or newer was heard before")
        self._heartbeat = beat.issued
        self._heard(beat.issued, now)
        self.head = max(self.head, beat.heads.get(self.service, 0))
        self._lower = self._lower + 1 if beat.heads.get(self.service, self.revision) < self.revision else 0

    def _delta(self, delta: StreamMessage, now: float) -> bool:
        if delta.service != self.service:  # the channel is the tenant's; this one is for a neighbour
            self._heard(delta.issued, now)
            return False
        if delta.revision <= self.revision:
            raise Refused("replayed", f"delta {delta.revision} came, {self.revision} is held")
        self._heard(delta.issued, now)
        self.head = max(self.head, delta.revision)
        if delta.previous != self.revision or not self.complete or not _fit(advance(self.patches, delta)):
            return False
        return self._take(delta)

    def _snapshot(self, snapshot: StreamMessage, now: float) -> bool:
        if snapshot.service != self.service:
            raise Refused("wrong_service", f"a snapshot of {snapshot.service}")
        if snapshot.revision < self.revision:
            raise Refused("replayed", f"snapshot {snapshot.revision} came, {self.revision} is held")
        self._heard(snapshot.issued, now)
        self.head = max(self.head, snapshot.revision)
        if snapshot.revision == self.revision and self.complete:
            return False
        self.complete = True
        return self._take(snapshot)

    def _take(self, message: StreamMessage) -> bool:
        self.patches, self._admitted = advance(self.patches, message), None
        self.revision, self._lower = message.revision, 0
        self.latches.forget(self.patches)
        return True

    def _heard(self, issued: float, now: float) -> None:
        self._word = max(self._word, min(issued, now))

    def mine(self, patch: Patch) -> bool:
        """Whether the patch is meant for this instance, now or at another time."""
        matches = parse_selector(patch.selector).matches(self.version)
        return matches and rank(patch.id, self.instance) < patch.admit_below

    def wanted(self, now: float) -> list[Patch]:
        """The patches in force at `now`, in fold order; what began or ended by now is remembered."""
        if self._admitted is None:
            self._admitted = admitted(self.patches.values(), self.version, self.instance)
        return self.latches.pass_through(self._admitted, now)

    def ended_early(self, now: float) -> list[int]:
        """Patches that a clock set forward ended here before their time, and that do not begin again."""
        return sorted(
            patch.id for patch in self.patches.values() if patch.id in self.latches.over and not is_over(patch, now)
        )

    def next_edge(self, now: float) -> float | None:
        """The next instant at which a window opens or closes."""
        return next_change(self.patches.values(), now)


def _fit(patches: Mapping[int, Patch]) -> bool:
    """Whether one snapshot could hold them: MGT sends nothing beyond that, and the journal is to stay readable."""
    size = sum(len(patch.envelope.get("payload", "")) for patch in patches.values())
    return len(patches) <= MAX_PATCHES and size <= MAX_BYTES
