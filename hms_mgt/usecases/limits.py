"""How many requests a caller gets in: per token, per tenant, and strangers per address. Each replica counts its own."""

from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from math import ceil, inf

import structlog

from hms_mgt.domain.access import Actor
from hms_mgt.domain.identity import Stranger
from hms_mgt.domain.rate import Bucket, Rates, bucket
from hms_mgt.errors import RateLimited

# The longest unused are forgotten first, which is to say: full again.
_MOST_BUCKETS = 10_000
# Anybody in the world may have a public issuer's word; each refusal of one is a row in the audit.
_STRANGERS = Bucket(rate=1, burst=20)
# One line a second tells as much as a thousand.
_WORDS = Bucket(rate=1, burst=1)
_log = structlog.get_logger()


class Limits:
    """Counts requests. Whoever is over a limit is told when to come again."""

    def __init__(self, rates: Rates, monotonic: Callable[[], float]) -> None:
        self._tokens = _Buckets(bucket(rates.per_token), monotonic)
        self._tenants = _Buckets(bucket(rates.per_tenant), monotonic)
        self._failures = _Buckets(bucket(rates.failures), monotonic)
        self._strangers = _Buckets(_STRANGERS, monotonic)
        self._words = _Buckets(_WORDS, monotonic)

    def request(self, actor: Actor) -> None:
        """Count a request of a known caller.

        Raises:
            RateLimited: the caller, or the tenant with all its tokens together, is over its limit.
        """
        self._answer(self._tokens.take(actor.name), "token", actor.name)
        if actor.tenant is not None:
            self._answer(self._tenants.take(actor.tenant), "tenant", actor.tenant)

    def guess(self, source: str) -> None:
        """Let a token that was never good be tried out.

        Raises:
            RateLimited: too many that were not good came from this address.
        """
        self._answer(self._failures.wait(_network(source)), "address", source)

    def failure(self, source: str) -> None:
        """Count a credential that was not good.

        Raises:
            RateLimited: as `guess` does.
        """
        self._answer(self._failures.take(_network(source)), "address", source)

    def stranger(self, who: Stranger) -> None:
        """Count somebody whom an issuer knows and no binding names.

        Raises:
            RateLimited: too many of this issuer's came.
        """
        self._answer(self._strangers.take(who.issuer), "issuer", who.issuer)

    def _answer(self, wait: float, scope: str, name: str) -> None:
        if wait <= 0:
            return
        if self._words.take(f"{scope} {name}") <= 0:
            _log.warning("a caller is over its limit", scope=scope, name=name)
        seconds = max(1, ceil(wait))
        raise RateLimited(
            f"too many requests by this {scope}: come again in {seconds} s", facts={"retry_after": seconds}
        )


class _Buckets:
    """A bucket for each name."""

    def __init__(self, of: Bucket, monotonic: Callable[[], float]) -> None:
        self._of = of
        self._monotonic = monotonic
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait(self, name: str) -> float:
        """Return in how many seconds there is one to take."""
        return self._of.wait(self._full_at.get(name, -inf), self._monotonic())

    def take(self, name: str) -> float:
        """Take one if there is one. Returns in how many seconds there is one otherwise."""
        wait = self.wait(name)
        if wait <= 0:
            self._full_at[name] = self._of.taken(self._full_at.get(name, -inf), self._monotonic())
            self._full_at.move_to_end(name)
            if len(self._full_at) > _MOST_BUCKETS:
                self._full_at.popitem(last=False)
        return wait


def _network(source: str) -> str:
    """Return what one caller can have of addresses: of IPv6 a /64."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if not isinstance(address, IPv6Address):
        return source
    # An IPv4 caller at a socket for both; all of them would share one /64.
    return str(address.ipv4_mapped or int(address) >> 64)
