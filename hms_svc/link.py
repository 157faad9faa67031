"""The agent's tie to Redis: told what happens, and able to tell.

Two connections: one only listens to `cfg::T`, the other reads the snapshot and adds reports. A half-open
connection raises no error and delivers nothing, or only in one direction; so the listening one is pinged at each look,
and when two ticks have passed without an answer it is gone, whatever else still arrives. Connecting blocks (name
look-up, TLS) and is an errand. Attempts are at least a second apart and spread at random, so that a thousand agents do
not come back at once.
"""

import os
from typing import TYPE_CHECKING

from hms_svc.address import SettingsError
from hms_svc.clock import PAUSE_SECONDS, TICK_SECONDS
from hms_svc.errand import Bell, Errand
from hms_svc.log import Muffler, emit
from hms_svc.pair import Pair
from hms_svc.resp import RedisError, RedisSaidNo
from hms_svc.settings import Settings

if TYPE_CHECKING:
    from hms_svc.cluster import Cluster

SILENCE_SECONDS = 2 * TICK_SECONDS  # the answer to one PING is read when the next is due
RETRY_SECONDS = 1.0
# With the 2 s that an attempt may take, these keep the way back below 5 s.
FIRST_SPREAD_SECONDS = 1.0
SPREAD_SECONDS = 1.75
STEADY_SECONDS = 5.0
# A flood is taken in small portions with a rest between them: it costs part of a core, and no window its end.
MESSAGES_AT_ONCE = 128
REST_SECONDS = 0.015
ACK_LENGTH = 10_000


def jitter(limit: float) -> float:
    """A random span up to `limit` seconds (the random module would cost 0.3 MiB)."""
    return int.from_bytes(os.urandom(4), "big") / 2**32 * limit


class Link:
    """Redis as the agent sees it. `now` is the monotonic clock."""

    def __init__(self, settings: Settings, bell: Bell) -> None:
        self._settings = settings
        self._bell = bell
        self._pair: Pair | None = None
        self._dial: Errand[Pair] | None = None
        self._dial_at = 0.0
        self._dialled_at = -RETRY_SECONDS
        self._steady = False  # the last link stood for a while
        self._heard = 0.0
        self._ping_at = 0.0
        self._pinged = 0.0
        self._up_since = 0.0
        self._rest_until = 0.0  # more has arrived than we took
        self._said = ""  # why there is no link, as logged last
        self.inbox: list[bytes] = []  # what has arrived and nobody has received
        self._muffler = Muffler()
        self.tried = False  # a first attempt has ended, well or not
        self.answered = False  # the last command was carried out
        self.subscriptions = 0

    @property
    def up(self) -> bool:
        """Whether both connections stand."""
        return self._pair is not None

    @property
    def listener(self) -> int | None:
        """The file descriptor to wait on, if anything new on it matters before `wake_at`."""
        return self._pair.listener.sock.fileno() if self._pair and not self._rest_until else None

    def wake_at(self) -> float:
        """When `tend` or `receive` has something to do, if nothing arrives before."""
        if self._pair:
            return self._rest_until or self._heard + SILENCE_SECONDS
        return float("inf") if self._dial else self._dial_at

    def tend(self, now: float) -> None:
        """Dial, ping, and give up on silence: whatever is due."""
        if self._dial is not None:
            self._answered(self._dial, now)
        elif self._pair is not None:
            self._keep(self._pair, now)
        elif now >= self._dial_at:
            self._dialled_at = now
            self._dial = Errand(self._bell, self._connect)

    def _connect(self) -> Pair:
        """In an errand. The address is asked for each time: whoever gives it may have a new password by now."""
        address = self._settings.redis_now()
        try:
            return Pair(address, self._settings.channel, self._settings.snapshot_key, self._bell)
        except (OSError, RedisError) as error:
            raise RedisError(address.without_secrets(str(error))) from None

    def _answered(self, dial: Errand[Pair], now: float) -> None:
        if not dial.done:
            return
        self._dial, self.tried = None, True
        try:
            self._pair = pair = dial.take()
        except (OSError, RedisError, SettingsError) as error:
            self._lost(str(error), now)
            return
        self._heard, self._ping_at, self._pinged, self._up_since = now, now, now, now
        self._rest_until, self._said = 0.0, ""
        self.subscriptions += 1
        self._say("linked", now, redis=pair.server.shown)

    def _keep(self, pair: Pair, now: float) -> None:
        if now - self._heard >= SILENCE_SECONDS:
            self._lost(f"silent for {now - self._heard:.1f} s", now)
        elif now >= self._ping_at:
            self._pinged, self._ping_at = now, now + PAUSE_SECONDS
            try:
                pair.listener.post("PING")
            except RedisError as error:
                self._lost(str(error), now)
        if pair.cluster is not None and self.up:
            self._look_for_owners(pair.cluster, now)

    def _look_for_owners(self, cluster: "Cluster", now: float) -> None:
        """Once a key's owner has been found anew, it is told and asked as after a new subscription."""
        try:
            self.subscriptions += cluster.arrived()
        except RedisError as error:
            self._refused("owner", str(error), now)

    def gather(self, now: float) -> None:
        """Fill the inbox with what has arrived on the channel, or a portion of it."""
        self.inbox += self._read(now)

    def receive(self, now: float) -> list[bytes]:
        """What is in the inbox, or else has arrived by now."""
        inbox, self.inbox = self.inbox or self._read(now), []
        return inbox

    def _read(self, now: float) -> list[bytes]:
        if self._pair is None:
            return []
        try:
            replies, more = self._pair.listener.receive(MESSAGES_AT_ONCE)
            for reply in replies:
                if isinstance(reply, RedisSaidNo):
                    raise reply
        except RedisError as error:
            self._lost(str(error), now)
            return []
        self._rest_until = now + REST_SECONDS if more else 0.0
        self._pair.listener.doze()
        # The answer to a PING may wait behind what we have not read yet: that is no silence.
        if more:
            self._heard = now
        elif any(isinstance(reply, list) and reply[:1] == [b"pong"] for reply in replies):
            self._heard = max(self._heard, self._pinged)  # it may have waited for us since
        return [reply[2] for reply in replies if _is_message(reply)]

    def snapshot(self, now: float) -> bytes | None:
        """The stream's snapshot as Redis has it; None when it has none or is away."""
        found = self._call(now, "GET", self._settings.snapshot_key)
        return found if isinstance(found, bytes) else None

    def report(self, text: str, now: float) -> bool:
        """Add a report to the tenant's stream; whether Redis has it."""
        key = f"ack::{self._settings.tenant}"
        self._call(now, "XADD", key, "MAXLEN", "~", str(ACK_LENGTH), "*", "m", text)
        return self.answered

    def _call(self, now: float, *command: str) -> object | None:
        """One command and its answer. A "no" from Redis is logged and keeps the link; silence or a break ends it."""
        self.answered = False
        if (pair := self._pair) is None:
            return None
        try:
            answer = pair.speaker.call(*command)
        except RedisSaidNo as no:
            if pair.wrong_place(no.code):
                self._lost(str(no), now)
            elif no.code not in ("MOVED", "ASK"):
                self._refused(command[0], pair.address.without_secrets(str(no)), now)
            return None
        except RedisError as error:
            self._lost(str(error), now)
            return None
        self.answered = True
        return answer

    def _refused(self, command: str, detail: str, now: float) -> None:
        self._say("redis_refused", now, command=command, detail=detail)

    def _lost(self, reason: str, now: float) -> None:
        if self._pair is not None:
            reason = self._pair.address.without_secrets(reason)
            self._pair.close()
            self._pair, self._rest_until = None, 0.0
            self._steady = now - self._up_since > STEADY_SECONDS
        spread = FIRST_SPREAD_SECONDS if self._steady else SPREAD_SECONDS
        self._steady = False
        self._dial_at = max(now, self._dialled_at + RETRY_SECONDS) + jitter(spread)
        if reason != self._said:
            self._said = reason
            self._say("unlinked", now, detail=reason)

    def _say(self, event: str, now: float, **fields: object) -> None:
        if (more := self._muffler.pass_on(event, now)) is not None:
            emit(event, **fields, **more)

    def close(self) -> None:
        """Hang up."""
        if self._pair is not None:
            self._pair.close()
            self._pair = None


def _is_message(reply: object) -> bool:
    return isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message" and isinstance(reply[2], bytes)
