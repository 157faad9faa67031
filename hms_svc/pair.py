"""Both connections to Redis, whatever kind of Redis it is: one that listens, and one that asks and tells.

Whoever dials names the snapshot's key, so that in a cluster its owner is known from the start. What finds a master
or an owner is loaded only by those who use it.
"""

from typing import TYPE_CHECKING

from hms_svc.address import RedisAddress
from hms_svc.connection import CONNECT_SECONDS, Connection, connect
from hms_svc.errand import Bell
from hms_svc.resp import RedisError

if TYPE_CHECKING:
    from hms_svc.cluster import Cluster


class Pair:
    """Subscribed, and ready to be asked. Dialling blocks: it belongs in an errand."""

    def __init__(self, address: RedisAddress, channel: str, key: str, bell: Bell) -> None:
        self.address = address
        self.cluster: Cluster | None = None
        self.server, self.listener = _first(address)
        try:
            self.listener.call("SUBSCRIBE", channel, timeout=CONNECT_SECONDS)
            self.speaker: Connection | Cluster = connect(self.server)
            if address.kind == "cluster":
                self.speaker = self.cluster = _cluster(self.server, self.speaker, key, bell)
        except BaseException:
            self.listener.close()
            raise

    def wrong_place(self, code: str) -> bool:
        """Whether an error with this code means that the master is elsewhere, and can be found."""
        return self.address.kind == "sentinel" and code in ("READONLY", "MASTERDOWN")

    def close(self) -> None:
        """Hang up."""
        self.listener.close()
        self.speaker.close()


def _first(address: RedisAddress) -> tuple[RedisAddress, Connection]:
    """The server to listen to, and a connection to it."""
    if address.kind == "sentinel":
        from hms_svc.sentinel import reach_master  # noqa: PLC0415 - only for those who use it

        return reach_master(address)
    if address.kind == "cluster":
        from hms_svc.seeds import in_turn  # noqa: PLC0415 - as above

        seconds = max(CONNECT_SECONDS / len(address.hosts), 0.5)
        return in_turn(address.hosts, lambda host, port: _reach(address.at(host, port), seconds))
    return _reach(address, CONNECT_SECONDS)


def _reach(server: RedisAddress, seconds: float) -> tuple[RedisAddress, Connection]:
    return server, connect(server, seconds)


def _cluster(server: RedisAddress, first: Connection, key: str, bell: Bell) -> "Cluster":
    from hms_svc.cluster import Cluster  # noqa: PLC0415 - as above

    cluster = Cluster(server, first, bell)
    try:
        cluster.follow("GET", key)
    except RedisError:
        # Its owner is away, or the user may not: the link is good for listening, and the next GET will say why.
        return cluster
    return cluster
