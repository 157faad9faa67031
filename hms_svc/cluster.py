"""Commands to a Redis Cluster: each goes to the node that owns its key.

An agent uses two keys, so it keeps no map of slots: it asks the node at hand, and a node that does not own the
key says who does (MOVED), or who is just getting it (ASK). Connecting there may block and is an errand; until it is
done the command counts as refused, and is tried again. Pub/sub needs none of this: a message reaches every node.
"""

import time
from typing import NamedTuple

from hms_svc.address import RedisAddress
from hms_svc.connection import ANSWER_SECONDS, Connection, connect
from hms_svc.errand import Bell, Errand
from hms_svc.resp import RedisError, RedisSaidNo

MOST_HOPS = 5
OWNER_SECONDS = 1.0
REST_SECONDS = 1.0


class Owner(NamedTuple):
    """Who answers for one key; `asking` while the key's slot is on its way there."""

    connection: Connection
    asking: bool

    def call(self, *words: str, timeout: float) -> object:
        """The command and its answer."""
        if not self.asking:
            return self.connection.call(*words, timeout=timeout)
        self.connection.call("ASKING", timeout=timeout / 2)
        return self.connection.call(*words, timeout=timeout / 2)


class Cluster:
    """The commands' side of the link. `first` is a node of the cluster, and stays connected as long as this lives."""

    def __init__(self, address: RedisAddress, first: Connection, bell: Bell) -> None:
        self._address = address
        self._first = Owner(first, asking=False)
        self._bell = bell
        self._owners: dict[str, Owner] = {}
        self._errand: Errand[tuple[str, Owner]] | None = None
        self._hops = 0
        self._not_before = 0.0

    def call(self, *words: str, timeout: float = ANSWER_SECONDS) -> object:
        """Send a command about the key `words[1]`, if any, and wait for its answer, as a connection does."""
        key = words[1] if len(words) > 1 else ""
        owner = self._owners.get(key, self._first)
        try:
            answer = owner.call(*words, timeout=timeout)
        except RedisSaidNo as no:
            if no.code in ("MOVED", "ASK"):
                self._send_for(key, no)
            raise
        except RedisError as error:
            if owner is self._first:
                raise
            self._owners.pop(key).connection.close()
            raise RedisSaidNo(f"the owner of {key} went away: {error}") from None
        self._hops = 0
        return answer

    def _send_for(self, key: str, no: RedisSaidNo) -> None:
        """Have the named owner dialled, unless somebody is on the way or the nodes send us round in circles."""
        now = time.monotonic()
        if self._errand is None and now >= self._not_before:
            self._hops += 1
            self._not_before = now + (REST_SECONDS if self._hops >= MOST_HOPS else 0.0)
            self._errand = Errand(self._bell, lambda: (key, self._dial(no)))

    def _dial(self, no: RedisSaidNo) -> Owner:
        return Owner(connect(whither(self._address, no), OWNER_SECONDS), no.code == "ASK")

    def arrived(self) -> bool:
        """Whether another owner was reached, so that what was refused may be tried again; RedisError if in vain."""
        if self._errand is None or not self._errand.done:
            return False
        errand, self._errand = self._errand, None
        try:
            key, owner = errand.take()
        except (OSError, RedisError) as error:
            self._not_before = time.monotonic() + REST_SECONDS
            raise RedisError(str(error)) from None
        self._settle(key, owner)
        return True

    def _settle(self, key: str, owner: Owner) -> None:
        if old := self._owners.pop(key, None):
            old.connection.close()
        self._owners[key] = owner

    def follow(self, *words: str) -> object:
        """Like `call`, but going where it is sent at once: it may block for long, and belongs in an errand."""
        for _ in range(MOST_HOPS):
            owner = self._owners.get(words[1], self._first)
            try:
                return owner.call(*words, timeout=OWNER_SECONDS)
            except RedisSaidNo as no:
                if no.code not in ("MOVED", "ASK"):
                    raise
                self._settle(words[1], self._dial(no))
        raise RedisSaidNo(f"the cluster's nodes do not agree on who owns {words[1]}")

    def close(self) -> None:
        """Hang up on all nodes."""
        for owner in (self._first, *self._owners.values()):
            owner.connection.close()


def whither(address: RedisAddress, no: RedisSaidNo) -> RedisAddress:
    """The node named in `MOVED 3999 10.0.0.5:6379`; without a host it is the one that said so."""
    host, _, port = str(no).rpartition(" ")[2].rpartition(":")
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise RedisSaidNo("a node of the cluster names no other that could be reached")
    return address.at(host.strip("[]") or address.hosts[0][0], int(port))
