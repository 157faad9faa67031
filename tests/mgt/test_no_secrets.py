"""No secret in a log, an audit row, an event, a message, a problem or the description of the API (promise 20)."""

import json
from base64 import urlsafe_b64encode
from typing import Any

import pytest
from structlog.testing import capture_logs

from hms_mgt.domain.access import Role
from hms_mgt.secret import digest, new_token
from hms_mgt.store.database import Database
from hms_mgt.store.tables import metadata
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.tokens import register_token
from hms_svc import wire
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.issuer import issuer
from tests.mgt.steps import review, step

PASSWORD = "s3cret-of-the-database"


class Ears:
    """Hears everything that leaves the control plane, but for what is stored."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.heard: list[str] = []

    async def call(self, method: str, path: str, who: str, **more: Any) -> int:
        answer = await self.world.call(method, path, who, **more)
        self.heard.append(f"{path} {answer.status_code} {answer.headers} {answer.text}")
        return answer.status_code

    def stored(self) -> list[str]:
        """Every row there is, as text; a token's hash is all that may be kept of it."""
        return [
            f"{table.name}: {row}"
            for table in metadata.sorted_tables
            for (row,) in self.world.sql(f"SELECT t::text FROM {table.name} t")  # noqa: S608 - from the schema
        ]


async def _live(ears: Ears, good: str, jwts: tuple[str, str]) -> None:
    """Have a life with each kind of answer in it: taken, refused, unknown, a bug, and the database away."""
    world = ears.world
    assert await ears.call("POST", "/api/patch", good, json=dict(PATCH)) == 202
    assert await ears.call("POST", "/api/patch", good, json=dict(PATCH)) == 409
    await review(world)
    await step(world)
    bearer, stranger = jwts
    assert await ears.call("POST", "/api/patch/1/cancel", bearer) in {202, 409}
    assert await ears.call("GET", "/api/patch", stranger) == 403
    for wrong in (f"{good}x", f"{bearer[:-9]}AAAAAAAAA", f"{bearer}.x"):
        assert await ears.call("POST", "/api/patch", wrong, json=dict(PATCH)) == 401
    for path in ("/api/audit?format=jsonl", "/api/audit", "/api/audit/head"):
        assert await ears.call("GET", path, "auditor@IACB") == 200
    for path in ("/api/token", "/api/instance", "/api/patch/1", "/openapi.json", "/schemas/patch.json", "/readyz"):
        assert await ears.call("GET", path, "platform_admin@IACB") == 200
    assert await ears.call("POST", "/api/token/canary/revoke", "platform_admin@IACB") == 200


def test_no_secret_is_told_logged_or_kept(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    async def scene(world: World) -> None:
        token = new_token()
        await register_token(
            world.db, digest(token), StoredToken("canary", Role.RELEASE_MANAGER, "IACB"), world.clock.now()
        )
        ears = Ears(world)
        with issuer(world) as fake, capture_logs() as logs:
            jwts = fake.token(), fake.token(groups=["nobodies"], sub="eve")
            await _live(ears, token, jwts)
            whole, away = world.db, Database(f"postgresql://hms:{PASSWORD}@127.0.0.1:1/hms", world.signer)
            world.db = away
            assert await ears.call("GET", "/api/patch", jwts[0]) == 503
            world.db = whole
            await away.close()
        secrets = [token, PASSWORD, *(part for one in jwts for part in (one, one.split(".")[2]))]
        seed = bytes(world.mgt_key)
        secrets += [
            seed.hex(),
            urlsafe_b64encode(seed).decode().rstrip("="),
            wire.dump_signing_key(world.mgt_key).strip(),
        ]
        written = capsys.readouterr()
        said = [*ears.heard, *(json.dumps(one, default=str) for one in logs), written.out, written.err]
        for one in (*said, *ears.stored(), *map(str, world.bus.published)):
            assert not [secret for secret in secrets if secret in one], one
        # What is kept of a token is for the database only.
        assert not [one for one in said if digest(token) in one]

    play(scene)
