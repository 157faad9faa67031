"""The agent's tie to Redis: told what happens, and able to tell.

Two connections: one only listens to `cfg::T`, the other reads the snapshot and adds reports. A half-open
connection raises no error and delivers nothing, so the listening one is pinged every second, and silence
beyond 2.5 s means it is gone. Connecting blocks (name look-up, TLS) and is an errand. Full jitter between
attempts, so that a thousand agents do not come back at once, and never two attempts within a second after the
first.
"""

import os

from hms_svc import resp
from hms_svc.errand import Bell, Errand
from hms_svc.log import emit
from hms_svc.settings import Settings

PING_SECONDS = 1.0
SILENCE_SECONDS = 2.5
FIRST_RETRY_SECONDS = 0.5
RETRY_SECONDS = 1.0
SPREAD_SECONDS = 2.0
STEADY_SECONDS = 5.0
ACK_LENGTH = 10_000


def jitter(limit: float) -> float:
    """A random span up to `limit` seconds (the random module would cost 0.3 MiB)."""
    return int.from_bytes(os.urandom(4), "big") / 2**32 * limit


class _Pair:
    """Both connections, ready."""

    def __init__(self, settings: Settings) -> None:
        self.listener = resp.connect(settings.redis)
        try:
            channel = f"cfg::{settings.tenant}"
            self.listener.call("SUBSCRIBE", channel, timeout=resp.CONNECT_SECONDS)
            self.speaker = resp.connect(settings.redis)
        except BaseException:
            self.listener.close()
            raise

    def close(self) -> None:
        self.listener.close()
        self.speaker.close()


class Link:
    """Redis as the agent sees it. `now` is the monotonic clock."""

    def __init__(self, settings: Settings, bell: Bell) -> None:
        self._settings = settings
        self._bell = bell
        self._pair: _Pair | None = None
        self._dial: Errand[_Pair] | None = None
        self._dial_at = 0.0
        self._failures = 0
        self._heard = 0.0
        self._ping_at = 0.0
        self._up_since = 0.0
        self._quiet = False  # this outage has been logged
        self.tried = False  # a first attempt has ended, well or not
        self.subscriptions = 0

    @property
    def up(self) -> bool:
        """Whether both connections stand."""
        return self._pair is not None

    @property
    def listener(self) -> int | None:
        """The file descriptor to wait on."""
        return self._pair.listener.sock.fileno() if self._pair else None

    def wake_at(self) -> float | None:
        """When `tend` has something to do, if nothing arrives before."""
        if self._pair:
            return min(self._ping_at, self._heard + SILENCE_SECONDS)
        return None if self._dial else self._dial_at

    def tend(self, now: float) -> None:
        """Dial, ping, and give up on silence: whatever is due."""
        if self._dial is not None:
            self._answered(self._dial, now)
        elif self._pair is not None:
            self._keep(self._pair, now)
        elif now >= self._dial_at:
            settings = self._settings
            self._dial = Errand(self._bell, lambda: _Pair(settings))

    def _answered(self, dial: Errand[_Pair], now: float) -> None:
        if not dial.done:
            return
        self._dial, self.tried = None, True
        try:
            self._pair = dial.take()
        except (OSError, resp.RedisError) as error:
            self._lost(str(error), now)
            return
        self._heard, self._ping_at, self._up_since, self._quiet = now, now, now, False
        self.subscriptions += 1
        emit("linked", redis=self._settings.redis.shown)

    def _keep(self, pair: _Pair, now: float) -> None:
        if now - self._heard >= SILENCE_SECONDS:
            self._lost(f"silent for {now - self._heard:.1f} s", now)
        elif now >= self._ping_at:
            self._ping_at = now + PING_SECONDS
            try:
                pair.listener.post("PING")
            except resp.RedisError as error:
                self._lost(str(error), now)

    def receive(self, now: float) -> list[bytes]:
        """The messages that have arrived on the channel."""
        if self._pair is None:
            return []
        try:
            replies = self._pair.listener.receive()
        except resp.RedisError as error:
            self._lost(str(error), now)
            return []
        if replies:
            self._heard = now
        return [reply[2] for reply in replies if isinstance(reply, list) and reply[0] == b"message"]

    def snapshot(self, now: float) -> bytes | None:
        """The stream's snapshot as Redis has it; None when it has none or is away."""
        key = f"cfg-state::{self._settings.tenant}::{self._settings.service}"
        found = self._call(now, "GET", key)
        return found if isinstance(found, bytes) else None

    def report(self, text: str, now: float) -> bool:
        """Add a report to the tenant's stream; whether Redis has it."""
        key = f"ack::{self._settings.tenant}"
        added = self._call(now, "XADD", key, "MAXLEN", "~", str(ACK_LENGTH), "*", "m", text)
        return added is not None

    def _call(self, now: float, *command: str) -> object | None:
        """One command and its answer. A "no" from Redis is logged and keeps the link; silence or a break ends it."""
        if self._pair is None:
            return None
        try:
            return self._pair.speaker.call(*command)
        except resp.RedisSaidNo as error:
            emit("redis_refused", command=command[0], detail=str(error))
        except resp.RedisError as error:
            self._lost(str(error), now)
        return None

    def _lost(self, reason: str, now: float) -> None:
        if self._pair is not None:
            self._pair.close()
            self._pair = None
            self._failures = 0 if now - self._up_since > STEADY_SECONDS else self._failures
        first = self._failures == 0
        self._failures += 1
        spread = min(SPREAD_SECONDS, 0.25 * 2**self._failures)
        self._dial_at = now + (jitter(FIRST_RETRY_SECONDS) if first else RETRY_SECONDS + jitter(spread))
        if not self._quiet:
            emit("unlinked", redis=self._settings.redis.shown, detail=reason)
            self._quiet = True

    def close(self) -> None:
        """Hang up."""
        if self._pair is not None:
            self._pair.close()
            self._pair = None
