"""The instant by which windows, freshness and expiry are judged: the wall clock, with a monotonic guard.

The time of day may be set by anybody; the monotonic clock only counts. Between two looks both must have moved alike.
Where they did not, somebody set the time of day, and it is decided once whom to believe: with a fresh signed word of
the control plane, whichever is nearer to it; without one, a clock set forward is believed (a window's end is a promise,
and a change that goes early is the safe side) and one set back is not. Pure: both clocks are parameters. What a patch
makes of a jump is the business of `latches`.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

from hms_svc.wire import rfc3339

# The kernel slews both clocks alike, so what is left between them is steps, and the time between reading the one and
# the other.
STEP_SECONDS = 0.5
SLIP_SECONDS = 0.01
FRESH_SECONDS = 10.0  # a signed word decides for so long
LAPSE_SECONDS = 30.0  # so long it holds back a clock that was set forward; then this instance is stale
FAR_SECONDS = 30.0  # beyond this a clock is wrong, not skewed
SKEW_SECONDS = 2.0
SKEW_LASTS_SECONDS = 30.0  # a word that waited in a queue is no skew
SHOWN_SECONDS = 60.0

# Which clock goes on being believed: the time of day, our own count, or the control plane's word.
Judge: TypeAlias = Literal["wall", "own", "signed"]
_BELIEVED: dict[Judge, str] = {"wall": "the new time", "own": "the agent's own count", "signed": "the signed word"}


class Jump(NamedTuple):
    """The time of day moved by so many seconds against the monotonic clock; who is believed since, and when it was."""

    seconds: float
    judge: Judge
    at: float
    now: float

    def words(self) -> str:
        """For people."""
        return f"the time of day jumped by {self.seconds:+.1f} s; windows go by {_BELIEVED[self.judge]}"


class Seen(NamedTuple):
    """For a restart: the judged instant, the monotonic one at the same moment, and the boot that one counts from."""

    at: float
    now: float
    boot: str


class Timekeeper:
    """Judges what time it is. A `lead` is how far a clock is ahead of the monotonic one, which is what `now` shows."""

    def __init__(self, now: float, wall: float, boot: str = "", seen: Seen | None = None) -> None:
        self._boot = boot
        self._lead = _restored(now, wall, boot, seen)  # what is believed
        self._peak = self._lead  # the most that was, since a signed word last put us back
        self._wall = self._shown = self._lead  # the time of day: now, and when it was last set
        self._last = now + self._lead
        self._doubted = False
        self._borrowed = False
        self._issued = float("-inf")
        self._word = 0.0
        self._word_at = self._heard = float("-inf")
        self._skewed_since: float | None = None
        self.jump: Jump | None = None  # the last one
        self.jumps = 0
        self.skew = 0.0

    def at(self, now: float) -> float:
        """What time it is, in epoch seconds. It does not go back by itself: only a signed word puts it back."""
        self._last = max(self._last, now + self._lead)
        return self._last

    def tick(self, now: float, wall: float) -> None:
        """Look at the time of day."""
        self._wall = wall - now
        step = self._wall - self._shown
        if jumped := abs(step) > STEP_SECONDS:
            self._shown = self._wall
        if jumped or self._doubted:
            self._believe(now, believed=self._believable(now, jumped=jumped))
        elif self._wall < self._peak - STEP_SECONDS:
            self._doubted = True
        else:
            self._follow()
        if jumped:
            self._note(now, step)

    def goes_on(self, now: float, wall: float) -> bool:
        """Whether both clocks counted alike since the last look, so that another one would change nothing."""
        return not self._doubted and abs(wall - now - self._wall) <= SLIP_SECONDS

    def hear(self, issued: float, now: float) -> None:
        """Take in when a verified, live message was signed: it may settle a doubt, or show that our clocks are slow."""
        word = issued - now
        # The control plane's clock was wrong when we took its word for the time, and is right again.
        corrected = self._borrowed and abs(word - self._wall) <= SKEW_SECONDS
        if issued <= self._issued and not corrected:
            return
        self._issued = issued
        self._watch_skew(word, now)
        if word < min(self._lead, self._wall) - FAR_SECONDS:
            return
        if corrected or word >= self._word or now - self._word_at > FRESH_SECONDS:  # the least delayed one of late
            self._word, self._word_at = word, now
        self._heard = now
        self._weigh(now)

    def seen(self, now: float) -> Seen:
        """What the journal keeps."""
        return Seen(self.at(now), now, self._boot)

    def report(self) -> dict[str, Any]:
        """For people: jumps since the start and a lasting skew; empty when all is well."""
        told: dict[str, Any] = {"skew": self.skew} if self.skew else {}
        if jump := self.jump:
            told |= {"jumps": self.jumps, "last": round(jump.seconds, 1), "at": rfc3339(jump.at), "judge": jump.judge}
        return told

    def words(self, now: float) -> str:
        """A line about the last jump, for a minute."""
        shown = self.jump is not None and now - self.jump.now <= SHOWN_SECONDS
        return f"clock: {self.jump.words()}" if self.jump and shown else ""

    def _weigh(self, now: float) -> None:
        if self._word - max(self._lead, self._wall) > FAR_SECONDS:
            step = self._word - self._lead
            self._lead = self._peak = self._word
            self._doubted = self._borrowed = True
            self._note(now, step)
        if self._borrowed:
            self._lead = max(self._lead, self._word)
        if self._doubted:
            self._believe(now, believed=self._believable(now, jumped=False))

    def _believable(self, now: float, *, jumped: bool) -> bool:
        """Whether to go by the time of day, which differs from our count or was just set."""
        if now - self._heard <= FRESH_SECONDS:
            near = SKEW_SECONDS if self._borrowed else max(abs(self._lead - self._word), STEP_SECONDS)
            return abs(self._wall - self._word) <= near
        if abs(self._wall - self._peak) <= STEP_SECONDS:
            return True
        return self._wall > self._peak and (jumped or now - self._heard > LAPSE_SECONDS)

    def _believe(self, now: float, *, believed: bool) -> None:
        if not believed:
            self._doubted = True
            return
        if self._doubted and self.jump:
            self.jump = self.jump._replace(judge="wall")
        self._doubted = False
        if self._wall < self._peak - STEP_SECONDS:  # only a signed word comes to this
            self._peak, self._last = self._wall, now + self._wall
        self._shown = self._wall
        self._follow()

    def _follow(self) -> None:
        self._lead, self._borrowed = self._wall, False
        self._peak = max(self._peak, self._wall)

    def _note(self, now: float, step: float) -> None:
        judge: Judge = "wall" if not self._doubted else "signed" if self._borrowed else "own"
        self.jump = Jump(step, judge, self.at(now), now)
        self.jumps += 1

    def _watch_skew(self, word: float, now: float) -> None:
        """A control plane whose clock differs for long is worth a word, and nothing else."""
        apart = word - self._lead
        if abs(apart) <= SKEW_SECONDS:
            self._skewed_since, self.skew = None, 0.0
        elif self._skewed_since is None:
            self._skewed_since = now
        elif now - self._skewed_since >= SKEW_LASTS_SECONDS and not self.skew:
            self.skew = round(apart, 1)


def _restored(now: float, wall: float, boot: str, seen: Seen | None) -> float:
    """Our count goes on through a restart; after a reboot it cannot at least be earlier than it was."""
    if seen is None:
        return wall - now
    if boot and seen.boot == boot and seen.now <= now:
        return seen.at - seen.now
    return max(wall, seen.at) - now
