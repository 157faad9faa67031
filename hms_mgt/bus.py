"""The broker, as the control plane uses it: Redis. At most once and never trusted; Postgres is the truth.

Names (shared with the sidecars): `cfg::T` the tenant's channel, `cfg-state::T::S` a stream's snapshot,
`ack::T` the tenant's stream of reports.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.asyncio import Redis, RedisCluster, Sentinel
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from hms_mgt.errors import Unavailable
from hms_mgt.ports import AckEntry
from hms_svc.address import RedisAddress, TlsFiles, redis_address

_FAILURES = (RedisError, RedisClusterException)
_POLL_SECONDS = 0.1
# Entries are up to 64 KiB, and nobody vouches for those who write them.
_BATCH = 100


def channel(tenant: str) -> str:
    """Name the tenant's channel."""
    return f"cfg::{tenant}"


def snapshot_key(tenant: str, service: str) -> str:
    """Name the key of a stream's snapshot."""
    return f"cfg-state::{tenant}::{service}"


def ack_stream(tenant: str) -> str:
    """Name the stream of reports of the tenant's sidecars."""
    return f"ack::{tenant}"


def acl_rule(tenant: str) -> str:
    """Return the line of a Redis ACL file that lets the tenant's sidecars use their own names and nothing else.

    It leaves out the password, for whoever installs it: `>secret` or `#sha256`.
    """
    names = f"resetchannels &{channel(tenant)} resetkeys %R~{snapshot_key(tenant, '*')} %W~{ack_stream(tenant)}"
    return f"user sidecar-{tenant} on {names} -@all +subscribe +unsubscribe +ping +get +xadd +auth +hello +select"


class RedisBus:
    """`ports.Bus` over one Redis server. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, client: Redis) -> None:
        self._redis: Any = client

    async def publish(self, tenant: str, message: str) -> None:
        """Send one signed message on the tenant's channel."""
        try:
            await self._redis.publish(channel(tenant), message)
        except _FAILURES as error:
            raise Unavailable("Redis does not take messages") from error

    async def put_snapshot(self, tenant: str, service: str, snapshot: str) -> None:
        """Replace the stream's stored snapshot."""
        try:
            await self._redis.set(snapshot_key(tenant, service), snapshot)
        except _FAILURES as error:
            raise Unavailable("Redis does not take snapshots") from error

    async def snapshots(self, streams: Sequence[tuple[str, str]]) -> list[str | None]:
        """Read the stored snapshots of (tenant, service) pairs, `None` where there is none."""
        if not streams:
            return []
        try:
            found: Any = await self._redis.mget([snapshot_key(*stream) for stream in streams])
        except _FAILURES as error:
            raise Unavailable("Redis does not answer") from error
        return [None if raw is None else raw.decode(errors="replace") for raw in found]

    async def read_acks(self, cursors: Mapping[str, str], block_ms: int) -> list[AckEntry]:
        """Wait up to `block_ms` for reports behind each tenant's cursor, the id of the last entry taken in."""
        streams: Any = {ack_stream(tenant): cursor for tenant, cursor in cursors.items()}
        tenants = {ack_stream(tenant).encode(): tenant for tenant in cursors}
        try:
            found: Any = await self._redis.xread(streams, count=_BATCH, block=block_ms)
        except _FAILURES as error:
            await self._drop_strangers(cursors)
            raise Unavailable("Redis does not answer") from error
        return [
            AckEntry(tenants[name], entry_id.decode(), fields.get(b"m", b""))
            for name, entries in (found or [])
            for entry_id, fields in entries
        ]

    async def _drop_strangers(self, tenants: Iterable[str]) -> None:
        """Drop what is no stream where one should be: with it there, nobody's reports could be read."""
        try:
            for tenant in tenants:
                if await self._redis.type(ack_stream(tenant)) not in {b"stream", b"none"}:
                    await self.drop_acks(tenant)
        except _FAILURES as error:
            raise Unavailable("Redis does not answer") from error

    async def trim_acks(self, tenant: str, up_to: str) -> None:
        """Drop what was taken in: the cap that the sidecars keep is only their word."""
        try:
            await self._redis.xtrim(ack_stream(tenant), minid=up_to, approximate=True)
        except _FAILURES as error:
            raise Unavailable("Redis does not answer") from error

    async def drop_acks(self, tenant: str) -> None:
        """Drop the tenant's stream of reports with its ids; sidecars report their whole state again in seconds."""
        try:
            await self._redis.delete(ack_stream(tenant))
        except _FAILURES as error:
            raise Unavailable("Redis does not answer") from error

    async def ping(self) -> None:
        """Ask whether Redis is there."""
        try:
            await self._redis.ping()
        except _FAILURES as error:
            raise Unavailable("Redis does not answer") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()


class ClusterBus(RedisBus):
    """`ports.Bus` over Redis Cluster, where the keys of one call may lie on several nodes."""

    def __init__(self, client: RedisCluster) -> None:
        self._redis = client

    async def snapshots(self, streams: Sequence[tuple[str, str]]) -> list[str | None]:
        """Read the stored snapshots of (tenant, service) pairs, one request to each node."""
        if not streams:
            return []
        pipeline = self._redis.pipeline()
        for stream in streams:
            pipeline.get(snapshot_key(*stream))
        try:
            found = await pipeline.execute()
        except _FAILURES as error:
            raise Unavailable("Redis does not answer") from error
        return [None if raw is None else raw.decode(errors="replace") for raw in found]

    async def read_acks(self, cursors: Mapping[str, str], block_ms: int) -> list[AckEntry]:
        """Wait up to `block_ms` for reports. No call can block on several nodes, so they are asked every 100 ms."""
        until = time.monotonic() + block_ms / 1000
        while True:
            entries = await self._read_once(cursors)
            left = until - time.monotonic()
            if entries or left <= 0:
                return entries
            await asyncio.sleep(min(_POLL_SECONDS, left))

    async def _read_once(self, cursors: Mapping[str, str]) -> list[AckEntry]:
        pipeline = self._redis.pipeline()
        for tenant, cursor in cursors.items():
            pipeline.xread({ack_stream(tenant): cursor}, count=_BATCH)
        try:
            answers = await pipeline.execute()
        except _FAILURES as error:
            await self._drop_strangers(cursors)
            raise Unavailable("Redis does not answer") from error
        return [
            AckEntry(tenant, entry_id.decode(), fields.get(b"m", b""))
            for tenant, answer in zip(cursors, answers, strict=True)
            for _, entries in (answer or [])
            for entry_id, fields in entries
        ]


class SentinelBus(RedisBus):
    """`ports.Bus` over the master that Sentinel names; it is asked anew for each new connection."""

    def __init__(self, sentinels: Sentinel, master: str) -> None:
        super().__init__(sentinels.master_for(master))
        self._sentinels: Any = sentinels

    async def close(self) -> None:
        """Close the connections, those to the sentinels as well."""
        await super().close()
        for sentinel in self._sentinels.sentinels:
            await sentinel.aclose()


def open_bus(url: str, tls: TlsFiles = TlsFiles()) -> RedisBus:  # noqa: B008 - it is immutable
    """Make the bus for any of the URLs that the sidecars take. Nothing is contacted yet."""
    if "+" not in url.partition("://")[0]:
        return RedisBus(Redis.from_url(url, **_OPTIONS, **(_files(tls) if url.startswith("rediss:") else {})))
    address = redis_address("HMS_REDIS_URL", url, tls)
    options = _OPTIONS | _login(address.user, address.password) | _encryption(address)
    if address.kind == "cluster":
        nodes = [ClusterNode(host, port) for host, port in address.hosts]
        return ClusterBus(RedisCluster(startup_nodes=nodes, **options))
    asked = _OPTIONS | _login(address.sentinel_user, address.sentinel_password) | _encryption(address)
    return SentinelBus(Sentinel(address.hosts, sentinel_kwargs=asked, db=address.db, **options), address.master)  # type: ignore[no-untyped-call]


# One attempt a call: the callers' loops retry, and they can say why they wait.
_OPTIONS: dict[str, Any] = {"socket_timeout": 5, "socket_connect_timeout": 1, "retry": Retry(NoBackoff(), 0)}


def _login(user: str, password: str) -> dict[str, Any]:
    return {"username": user or None, "password": password or None}


def _encryption(address: RedisAddress) -> dict[str, Any]:
    return {"ssl": True, **_files(address.tls)} if address.tls else {}


def _files(tls: TlsFiles) -> dict[str, Any]:
    return {
        "ssl_ca_certs": tls.ca or None,
        "ssl_certfile": tls.cert or None,
        "ssl_keyfile": tls.key or tls.cert or None,
    }
