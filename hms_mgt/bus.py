"""The broker, as the control plane uses it: Redis. At most once and never trusted; Postgres is the truth.

Names (shared with the sidecars): `cfg::T` the tenant's channel, `cfg-state::T::S` a stream's snapshot,
`ack::T` the tenant's stream of reports.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from hms_mgt.errors import Unavailable
from hms_mgt.ports import AckEntry

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
    """`ports.Bus` over Redis. Every method raises `Unavailable` when Redis does not answer."""

    def __init__(self, url: str) -> None:
        # One attempt a call: the callers' loops retry, and they can say why they wait.
        self._redis: Redis = Redis.from_url(
            url, socket_timeout=5, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)
        )

    async def publish(self, tenant: str, message: str) -> None:
        """Send one signed message on the tenant's channel."""
        try:
            await self._redis.publish(channel(tenant), message)
        except RedisError as error:
            raise Unavailable("Redis does not take messages") from error

    async def put_snapshot(self, tenant: str, service: str, snapshot: str) -> None:
        """Replace the stream's stored snapshot."""
        try:
            await self._redis.set(snapshot_key(tenant, service), snapshot)
        except RedisError as error:
            raise Unavailable("Redis does not take snapshots") from error

    async def snapshots(self, streams: Sequence[tuple[str, str]]) -> list[str | None]:
        """Read the stored snapshots of (tenant, service) pairs, `None` where there is none."""
        if not streams:
            return []
        try:
            found: Any = await self._redis.mget([snapshot_key(*stream) for stream in streams])
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error
        return [None if raw is None else raw.decode(errors="replace") for raw in found]

    async def read_acks(self, cursors: Mapping[str, str], block_ms: int) -> list[AckEntry]:
        """Wait up to `block_ms` for reports behind each tenant's cursor, the id of the last entry taken in."""
        streams: Any = {ack_stream(tenant): cursor for tenant, cursor in cursors.items()}
        tenants = {ack_stream(tenant).encode(): tenant for tenant in cursors}
        try:
            found: Any = await self._redis.xread(streams, count=_BATCH, block=block_ms)
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error
        return [
            AckEntry(tenants[name], entry_id.decode(), fields.get(b"m", b""))
            for name, entries in (found or [])
            for entry_id, fields in entries
        ]

    async def trim_acks(self, tenant: str, up_to: str) -> None:
        """Drop what was taken in: the cap that the sidecars keep is only their word."""
        try:
            await self._redis.xtrim(ack_stream(tenant), minid=up_to, approximate=True)
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error

    async def drop_acks(self, tenant: str) -> None:
        """Drop the tenant's stream of reports with its ids; sidecars report their whole state again in seconds."""
        try:
            await self._redis.delete(ack_stream(tenant))
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error

    async def ping(self) -> None:
        """Ask whether Redis is there."""
        try:
            await self._redis.ping()
        except RedisError as error:
            raise Unavailable("Redis does not answer") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
