"""When to ask for the snapshot, and whom: Redis first, then MGT over HTTP.

MGT is asked where Redis has none, is behind or is down. Asked at the start, on every (re)subscribe, when a
gap shows, and anyway every 10 to 15 s, because pub/sub loses messages without a trace. Redis answers at once;
MGT is asked by an errand.
"""

from hms_svc import http
from hms_svc.address import HttpAddress, SettingsError
from hms_svc.clock import TICK_SECONDS
from hms_svc.errand import Bell, Errand
from hms_svc.link import Link, jitter
from hms_svc.log import emit
from hms_svc.settings import Settings
from hms_svc.wire import MAX_BYTES

RECONCILE_SECONDS = 10.0
SPREAD_SECONDS = 5.0 - TICK_SECONDS  # it rides on the next wake
FIRST_RETRY_SECONDS = 0.25
LONGEST_RETRY_SECONDS = 5.0
HTTP_SECONDS = 5.0
OK = 200
NOT_FOUND = 404


class Source:
    """Where snapshots come from. `now` is the monotonic clock."""

    def __init__(self, settings: Settings, bell: Bell, link: Link) -> None:
        self._settings = settings
        self._bell = bell
        self._link = link
        self._errand: Errand[bytes | None] | None = None
        self._due = 0.0
        self._pressing = True
        self._retry = FIRST_RETRY_SECONDS
        self._subscriptions = 0
        self._quiet = False
        self._refused = False  # Redis is there, and said no when it was asked last
        self.answered = False  # somebody who may know has answered, if only that there is no stream yet

    @property
    def idle(self) -> bool:
        """Whether everybody who could be asked has been, and nobody is on the way."""
        return self._link.tried and self._errand is None and self._due > 0.0

    def wake_at(self) -> float:
        """When to ask again, where that is not at the usual pace."""
        return self._due if self._link.tried and self._pressing else float("inf")

    @property
    def due_at(self) -> float:
        """When to ask again, if nothing happens before."""
        return self._due

    def hasten(self, now: float) -> None:
        """A gap showed: ask soon."""
        self._due, self._pressing = min(self._due, now + jitter(self._retry)), True

    def arrived(self) -> bytes | None:
        """MGT's answer, once it is there."""
        if self._errand is None or not self._errand.done:
            return None
        errand, self._errand = self._errand, None
        try:
            found = errand.take()
        except (OSError, http.HttpError, SettingsError) as error:
            self._complain(str(error))
            return None
        self.answered, self._quiet = True, False
        return found

    def _complain(self, detail: str) -> None:
        if not self._quiet:
            emit("mgt_unreachable", detail=detail)
            self._quiet = True

    def due(self, now: float) -> bool:
        """Whether it is time to ask."""
        if self._link.subscriptions != self._subscriptions:
            self._subscriptions = self._link.subscriptions
            return True
        return self._link.tried and now >= self._due

    def ask_redis(self, now: float) -> bytes | None:
        """Redis' copy, if any."""
        found = self._link.snapshot(now)
        self._refused = self._link.up and not self._link.answered
        self.answered = self.answered or self._link.answered
        return found

    def ask_mgt(self) -> None:
        """Send for MGT's copy, unless somebody is on the way already or there is nobody to ask."""
        address = self._settings.mgt
        if address is None or self._errand is not None:
            return
        path = snapshot_path(address, self._settings)
        self._errand = Errand(self._bell, lambda: fetch(address, path, self._settings.token_now()))

    def settle(self, now: float, *, behind: bool) -> None:
        """Set the next time to ask: soon and ever more seldom while behind or refused, else at the usual pace."""
        self._pressing = behind or self._refused
        if self._pressing:
            self._due = now + self._retry / 2 + jitter(self._retry)
            self._retry = min(self._retry * 2, LONGEST_RETRY_SECONDS)
        else:
            self._due = now + RECONCILE_SECONDS + jitter(SPREAD_SECONDS)
            self._retry = FIRST_RETRY_SECONDS


def snapshot_path(address: HttpAddress, settings: Settings) -> str:
    """Where MGT has the stream's snapshot."""
    return f"{address.path.rstrip('/')}/api/stream/{settings.tenant}/{settings.service}/snapshot"


def fetch(address: HttpAddress, path: str, token: str) -> bytes | None:
    """MGT's snapshot, or None when the stream does not exist yet; HttpError otherwise."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    response = http.get(address, path, headers, HTTP_SECONDS, MAX_BYTES + 1)
    if response.status == NOT_FOUND:
        return None
    if response.status != OK:
        raise http.HttpError(f"{address.host}:{address.port} answered {response.status}")
    return response.body
