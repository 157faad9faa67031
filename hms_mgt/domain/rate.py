"""How much is too much: a bucket of tokens for each name, kept as one number."""

from typing import NamedTuple

# Seconds that adding up instants may be off by.
_ROUNDING = 1e-5


class Rates(NamedTuple):
    """What is let through in a second, and for a moment twice of it."""

    per_token: float = 200
    per_tenant: float = 1000
    # Credentials that are not good, for each address they come from.
    failures: float = 20


class Bucket(NamedTuple):
    """Fills with `rate` a second up to `burst`. What is kept of one is the instant at which it is full again."""

    rate: float
    burst: float

    def wait(self, full_at: float, now: float) -> float:
        """Return in how many seconds it holds enough for one more; 0 when it does now."""
        wait = self.taken(full_at, now) - now - self.burst / self.rate
        return wait if wait > _ROUNDING else 0.0

    def taken(self, full_at: float, now: float) -> float:
        """Return when it is full again after one more was taken."""
        return max(full_at, now) + 1 / self.rate


def bucket(rate: float) -> Bucket:
    """Return a bucket that lets through twice its rate in a burst, and one at the least."""
    return Bucket(rate, max(1.0, 2 * rate))
