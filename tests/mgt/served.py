"""The API as a process of its own behind a real socket, on a database the test knows: `python -m tests.mgt.served`.

GOV is a fake inside the process. With `work` the patches move on as well: reviews, windows, rollouts.
"""

import asyncio
import json
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from nacl.encoding import HexEncoder
from nacl.signing import SigningKey

from hms_mgt.api.app import create_app
from hms_mgt.api.server import Server
from hms_mgt.api.sse import Pace
from hms_mgt.bootstrap import SystemClock, log_json
from hms_mgt.usecases.review import Reviewer
from tests.mgt import steps
from tests.mgt.conftest import World
from tests.mgt.filled import ANYBODY


class Served(NamedTuple):
    """Where it is, and its process."""

    url: str
    process: subprocess.Popen[str]


@contextmanager
def served(database: str, *, most: int = 500, work: bool = False, key: str = "", **pace: float) -> Iterator[Served]:
    """Serve the API on a database until the block ends. `key` is MGT's own where the database knows one already."""
    options = json.dumps({"most": most, "work": work, "key": key, "pace": pace})
    command = [sys.executable, "-m", "tests.mgt.served", database, options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Served(f"http://127.0.0.1:{int(process.stdout.readline())}", process)
        finally:
            process.terminate()
            process.wait(10)


def _world(database: str, key: str) -> World:
    world: Any = World(database, SigningKey(key.encode(), HexEncoder) if key else None)
    world.clock = SystemClock()
    world.reviewer = Reviewer(world.db, world.governance, world.signer, world.clock, random.random)
    made: World = world
    return made


async def _work(world: World) -> None:
    world.governance.obligations = [ANYBODY]
    while True:
        await steps.review(world)
        await steps.step(world)
        await asyncio.sleep(0.05)


async def _serve(database: str, *, most: int, work: bool, key: str, pace: dict[str, float]) -> None:
    world = _world(database, key)
    app = create_app(world, Pace(**pace))  # type: ignore[arg-type]
    app.state.wakeups.most = most
    # By its protocol's number asyncio knows that small packets are not to be held back.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        print(listening.getsockname()[1], flush=True)  # noqa: T201 - whoever started this process waits for it
        worker = asyncio.create_task(_work(world)) if work else None
        await Server(app, timeout_graceful_shutdown=5).serve([listening])
        if worker is not None:
            worker.cancel()


if __name__ == "__main__":
    log_json()
    asyncio.run(_serve(sys.argv[1], **json.loads(sys.argv[2])))
