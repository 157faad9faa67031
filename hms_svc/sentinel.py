"""Finds the master that Redis Sentinel names, and believes it only when the server itself agrees.

The sentinels are asked in turn. After a failover one of them may still name the old master, and the old master comes
back as a replica: so the server is asked for its role, by HELLO, which an agent's ACL rule allows (ROLE would show the
whole topology). The user and the password of the URL are for the master alone; those of the sentinels, if they want
any, are given separately.
"""

from hms_svc.address import RedisAddress
from hms_svc.connection import Connection, connect
from hms_svc.resp import RedisError
from hms_svc.seeds import in_turn

SENTINEL_SECONDS = 0.5
MASTER_SECONDS = 1.5


def reach_master(address: RedisAddress) -> tuple[RedisAddress, Connection]:
    """Who is master now, and a connection to it; RedisError when there is none."""
    return in_turn(address.hosts, lambda host, port: _reach(_ask(address, host, port)))


def _ask(address: RedisAddress, host: str, port: int) -> RedisAddress:
    login = address._replace(user=address.sentinel_user, password=address.sentinel_password, db=0)
    sentinel = connect(login.at(host, port), SENTINEL_SECONDS)
    try:
        found = sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.master, timeout=SENTINEL_SECONDS)
    finally:
        sentinel.close()
    try:
        return address.at(found[0].decode(), int(found[1]))
    except (TypeError, ValueError, IndexError, AttributeError):
        raise RedisError(f"the sentinel {host}:{port} knows no master {address.master!r}") from None


def _reach(named: RedisAddress) -> tuple[RedisAddress, Connection]:
    server = connect(named, MASTER_SECONDS)
    try:
        _demand_master(server.call("HELLO"), named)
    except BaseException:
        server.close()
        raise
    return named, server


def _demand_master(hello: object, named: RedisAddress) -> None:
    said = hello if isinstance(hello, list) else []
    if b"role" not in said[:-1] or said[said.index(b"role") + 1] != b"master":
        raise RedisError(f"{named.shown}, which a sentinel names, is no master now")
