"""Measures `POST /api/patch` beside its floor, in one run: python benchmarks/submit.py.

Both are served by one uvicorn process each, on the same Postgres, and measured in turns, so that whatever else the
machine does falls on both. What counts is the ratio; the figures themselves are this machine's.
"""

import argparse
import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from load import Measured, request, run

from hms_mgt.bootstrap import write_keys
from hms_mgt.domain.access import Role
from hms_mgt.domain.quota import Quota
from hms_mgt.local.postgres import Postgres
from hms_mgt.orchestrators.free_port import any_free
from hms_mgt.secret import digest, new_token
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database, sqlalchemy_url
from hms_mgt.store.migrate import upgrade
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.register import NewDeployment, register_deployment, register_tenant
from hms_mgt.usecases.tokens import register_token
from hms_svc import wire

TENANTS, SERVICES = 4, 25
_FAR_AHEAD = datetime(2099, 1, 1, tzinfo=UTC).timestamp()
_numbers = count()


async def populate(url: str, keys: Path) -> list[str]:
    """Register tenants with services; return a release manager's token for each."""
    db = Database(url, Signer(wire.load_signing_key((keys / "mgt.key").read_text())))
    now, tokens = datetime.now(UTC), [new_token() for _ in range(TENANTS)]
    for number, token in enumerate(tokens):
        tenant = f"TENANT-{number}"
        await register_tenant(db, tenant, Quota(replicas=10_000), now)
        await register_token(db, digest(token), StoredToken(f"rm-{number}", Role.RELEASE_MANAGER, tenant), now)
        for service in range(SERVICES):
            conf = "rate_limit_rps: 50\nreplicas: 3\n"
            await register_deployment(db, NewDeployment(tenant, f"SERVICE-{service}", "2.1.0", conf, "local"), now)
    await db.close()
    return tokens


def patch(tenants: int, *, resources: bool) -> tuple[int, bytes]:
    """Make a patch that no other is in the way of. Returns its tenant's number and its body."""
    number = next(_numbers)
    tenant = number % tenants
    changes: dict[str, Any] = {f"knob_{number}": number, "logging": {f"level_{number}": "info"}}
    if resources:
        changes = {"replicas": 4}
    document = {
        "tenant": f"TENANT-{tenant}",
        "service": f"SERVICE-{number // tenants % SERVICES}",
        "version_selector": ">=2.1.0",
        "changes": changes,
        "window": {"start": wire.rfc3339(_FAR_AHEAD + 3600 * number), "duration": "1h"},
        "reason": "holiday market",
    }
    return tenant, json.dumps(document).encode()


@contextlib.contextmanager
def served(command: list[str], port: int, environment: dict[str, str]) -> Iterator[None]:
    """Run a server until the block ends."""
    process = subprocess.Popen([sys.executable, *command], env={**os.environ, **environment})
    try:
        _await(port)
        yield
    finally:
        process.terminate()
        process.wait()


def _await(port: int) -> None:
    for _ in range(300):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2):
            return
        time.sleep(0.1)
    raise SystemExit(f"nothing listens on port {port}")


def requests_to(tokens: list[str], tenants: int, amount: int, *, resources: bool) -> list[bytes]:
    """Make so many requests, each for a patch of its own."""
    made = (patch(tenants, resources=resources) for _ in range(amount))
    return [request("/api/patch", body, tokens[tenant]) for tenant, body in made]


def measure(ports: dict[str, int], tokens: list[str], options: argparse.Namespace) -> dict[str, list[Measured]]:
    """Measure every case in turns."""
    cases = {
        "floor": ("floor", TENANTS, False),
        "patch": ("hms", TENANTS, False),
        "patch, one tenant": ("hms", 1, False),
        "patch with replicas": ("hms", TENANTS, True),
    }
    found: dict[str, list[Measured]] = {name: [] for name in cases}
    for turn in range(options.turns + 1):
        for name, (server, tenants, resources) in cases.items():
            made = requests_to(tokens, tenants, options.requests, resources=resources)
            seen = asyncio.run(run(ports[server], made, options.connections))
            if set(seen.statuses) != {202}:
                raise SystemExit(f"{name}: not every request was taken in: {dict(seen.statuses)}")
            if turn:  # the first one warms up
                found[name].append(seen)
            print(f"turn {turn}: {name}: {seen.rate:.0f}/s", file=sys.stderr)
    return found


def show(found: dict[str, list[Measured]]) -> None:
    """Print the medians of the turns, each beside the floor's."""
    floor = statistics.median(one.rate for one in found["floor"])
    print(f"{'case':22}{'req/s':>8}{'x floor':>9}{'p50 ms':>8}{'p99 ms':>8}")
    for name, turns in found.items():
        rate = statistics.median(one.rate for one in turns)
        p50, p99 = (statistics.median(one.percentile(share) for one in turns) * 1000 for share in (0.5, 0.99))
        print(f"{name:22}{rate:8.0f}{floor / rate:9.1f}{p50:8.1f}{p99:8.1f}")


def main() -> None:
    """Start everything, measure, and end everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="in each turn, for each case")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hms-benchmark-", ignore_cleanup_errors=True) as place:
        write_keys(Path(place) / "keys")
        server = Postgres(Path(place) / "postgres")
        try:
            upgrade(server.url)
            tokens = asyncio.run(populate(server.url, Path(place) / "keys"))
            ports = {"floor": any_free(), "hms": any_free()}
            limits = {"HMS_RATE_PER_TOKEN": "1000000", "HMS_RATE_PER_TENANT": "1000000"}
            hms = {"HMS_DATABASE_URL": server.url, "HMS_KEYS": f"{place}/keys", "HMS_PORT": str(ports["hms"]), **limits}
            floor = {"FLOOR_DATABASE_URL": sqlalchemy_url(server.url), "FLOOR_PORT": str(ports["floor"])}
            with (
                served([str(Path(__file__).with_name("floor.py"))], ports["floor"], floor),
                served(["-m", "hms_mgt", "api"], ports["hms"], hms),
            ):
                show(measure(ports, tokens, options))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
