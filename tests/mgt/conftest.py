"""A real Postgres for each test process, a fresh database for each test, and the parts around it."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
import pytest
from nacl.signing import SigningKey

from hms_mgt.api.app import create_app
from hms_mgt.api.sse import Pace
from hms_mgt.domain.access import Role
from hms_mgt.domain.quota import Quota
from hms_mgt.domain.rate import Rates
from hms_mgt.errors import Unavailable
from hms_mgt.identity.verify import Verifier
from hms_mgt.ports import AckEntry, Verdict
from hms_mgt.secret import digest
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.authenticate import Authenticator
from hms_mgt.usecases.limits import Limits
from hms_mgt.usecases.register import NewDeployment, register_deployment, register_tenant
from hms_mgt.usecases.review import Reviewer
from hms_mgt.usecases.tokens import register_token
from hms_svc import wire
from hms_svc.trust import Trust

CONF = "rate_limit_rps: 50  # per client\nreplicas: 3\n"
PATCH: Mapping[str, Any] = {
    "service": "ARTIST_REGISTRY_API",
    "version_selector": ">=2.1.0",
    "changes": {"rate_limit_rps": 200},
    "tenant": "IACB",
    "window": {"start": "now", "duration": "1h"},
}


class SetClock:
    """A clock that stands where a test puts it. A fake."""

    def __init__(self) -> None:
        self.instant = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.instant

    def forward(self, **by: float) -> None:
        self.instant += timedelta(**by)

    def monotonic(self) -> float:
        return self.instant.timestamp()


class SetGovernance:
    """A governance that answers as a test says, with really signed decisions. A fake."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.denials: list[str] = []
        self.obligations: list[Any] = []
        self.expires: float | None = None
        self.away = False
        self.asked = 0

    async def decide(self, facts: Mapping[str, Any]) -> Verdict:
        self.asked += 1
        if self.away:
            raise Unavailable("GOV cannot be reached")
        verdict = "deny" if self.denials else "allow"
        statement = {
            **{name: facts[name] for name in ("patch_id", "tenant", "service", "version_selector", "changes")},
            "window": facts["window"],
            "priority": facts["priority"],
            "v": 1,
            "decision_id": "d-1",
            "verdict": verdict,
            "reasons": self.denials,
            "obligations": self.obligations,
            "policy_revision": "sha256:0",
            "issued": "2026-11-23T12:00:00Z",
            "expires": facts["window"]["end"],
            **({"break_glass": True} if facts.get("break_glass") else {}),
        }
        envelope = wire.seal(wire.DECISION, statement, self.key)
        reasons, obligations = tuple(self.denials), tuple(self.obligations)
        return Verdict(envelope, "d-1", not self.denials, reasons, "sha256:0", obligations, self.expires)

    async def evaluate(self, facts: Mapping[str, Any]) -> Verdict:
        """Say what `decide` would, unsigned."""
        return (await self.decide(facts))._replace(envelope={}, decision_id="")


class SetBus:
    """A broker that keeps what it is given and breaks when a test says so. A fake."""

    def __init__(self) -> None:
        self.published: list[tuple[str, str]] = []
        self.stored: dict[tuple[str, str], str] = {}
        self.away = False

    async def publish(self, tenant: str, message: str) -> None:
        self._check()
        self.published.append((tenant, message))

    async def put_snapshot(self, tenant: str, service: str, snapshot: str) -> None:
        self._check()
        self.stored[tenant, service] = snapshot

    async def snapshots(self, streams: Sequence[tuple[str, str]]) -> list[str | None]:
        self._check()
        return [self.stored.get(stream) for stream in streams]

    async def read_acks(self, cursors: Mapping[str, str], block_ms: int) -> list[AckEntry]:
        raise NotImplementedError

    async def trim_acks(self, tenant: str, up_to: str) -> None:
        raise NotImplementedError

    async def drop_acks(self, tenant: str) -> None:
        raise NotImplementedError

    async def ping(self) -> None:
        self._check()

    async def close(self) -> None:
        """Nothing is held."""

    def _check(self) -> None:
        if self.away:
            raise Unavailable("Redis does not take messages")


class World:
    """The control plane around one fresh database, everything else in a test's hands."""

    def __init__(self, url: str, mgt_key: SigningKey | None = None) -> None:
        self.url = url
        self.clock = SetClock()
        self.governance = SetGovernance()
        self.bus = SetBus()
        self.mgt_key = mgt_key or SigningKey.generate()
        self.signer = Signer(self.mgt_key)
        self.db = Database(url, self.signer, pool_size=5)
        self.trust = Trust(wire.Pins((self.governance.key.verify_key,)), wire.Pins((self.mgt_key.verify_key,)))
        self.reviewer = Reviewer(self.db, self.governance, self.signer, self.clock, lambda: 0.5)
        # What these remember ages by the real clock, for the other one may stand still.
        self.authenticator = Authenticator(self.db, Verifier((), time.monotonic), self.clock, time.monotonic)
        self.limits = Limits(Rates(1e6, 1e6, 1e6), time.monotonic)
        # Who does not ask for an event stream does not wait for one.
        app = create_app(self, Pace(idle=0.01))  # type: ignore[arg-type]
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://mgt")

    async def populate(self) -> None:
        """Two tenants that run the same service, and a token for each role and tenant, named `role@tenant`."""
        now = self.clock.now()
        for tenant in ("IACB", "VA"):
            await register_tenant(self.db, tenant, Quota(replicas=12), now)
            new = NewDeployment(tenant, "ARTIST_REGISTRY_API", "2.1.0", CONF, "local")
            await register_deployment(self.db, new, now)
            for role in Role:
                name = f"{role}@{tenant}"
                await register_token(self.db, digest(name), StoredToken(name, role, tenant), now)

    def sql(self, query: str, *values: object) -> list[Any]:
        """Ask the database as its owner, past every rule."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(query, values).fetchall()

    async def call(self, method: str, path: str, who: str = "release_manager@IACB", **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {who}", **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def submit(self, **changed: Any) -> int:
        """Submit the usual patch, some fields changed. Returns its id."""
        answer = await self.call("POST", "/api/patch", json={**PATCH, **changed})
        assert answer.status_code == 202, answer.text
        return int(answer.json()["patch_id"])

    async def shown(self, patch_id: int) -> dict[str, Any]:
        answer = await self.call("GET", f"/api/patch/{patch_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def close(self) -> None:
        await self.client.aclose()
        await self.authenticator.close()
        await self.db.close()


Play = Callable[[Callable[[World], Awaitable[None]]], None]


@pytest.fixture
def play(database: str) -> Play:
    """Run an async scene in a populated world."""

    def run(scene: Callable[[World], Awaitable[None]]) -> None:
        async def whole() -> None:
            async for world in _world(database):
                await scene(world)

        asyncio.run(whole())

    return run


async def _world(url: str) -> AsyncIterator[World]:
    world = World(url)
    await world.populate()
    try:
        yield world
    finally:
        await world.close()
