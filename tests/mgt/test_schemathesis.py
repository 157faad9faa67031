"""schemathesis over the whole OpenAPI document, against the API behind a real socket and a real Postgres.

All of its phases (examples, coverage, fuzzing, stateful) and all of its checks: no 5xx, no answer that is not
documented, bodies and headers as the document says, no authentication ignored, what breaks the schema is refused.

`make test` asks some two thousand times, each time as another of the roles. `make fuzz` asks more than twenty thousand
times, as each role by itself: `HMS_FUZZ_EXAMPLES=60 pytest tests/mgt/test_schemathesis.py`. What it finds it shows with
the request that shows it again.
"""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from nacl.encoding import HexEncoder

from hms_mgt.domain.access import Role
from tests.mgt.conftest import Play, World
from tests.mgt.filled import UNBOUND, fill_iacb
from tests.mgt.served import served

HERE = Path(__file__).parent
EXAMPLES = int(os.environ.get("HMS_FUZZ_EXAMPLES", "0"))
CALLERS = [*(f"{role}@IACB" for role in Role), UNBOUND, "none"]


class Filled(NamedTuple):
    """A database with some of everything in it, as of now, and the key that signed it."""

    url: str
    key: str


def ask(database: Filled, place: Path, callers: list[str], *options: str) -> int:
    """Run schemathesis. Returns how many requests it made up."""
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"), "--no-color"]
    with served(database.url, work=True, key=database.key, idle=0.05) as api:
        environment = {
            **os.environ,
            "HMS_FUZZ_CALLERS": " ".join(callers),
            "SCHEMATHESIS_HOOKS": "tests.mgt.schemathesis_hooks",
        }
        done = subprocess.run(
            [*command, "run", f"{api.url}/openapi.json", "--generation-database", "none", *options],
            check=False,
            cwd=place,
            env=environment | {"PYTHONPATH": str(HERE.parents[1])},
            capture_output=True,
            text=True,
        )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
    assert all(f"✅ {phase}" in done.stdout for phase in ("Examples", "Coverage", "Fuzzing", "Stateful")), done.stdout
    (made_up,) = re.findall(r"(\d+) generated", done.stdout)
    return int(made_up)


@pytest.fixture
def filled(play: Play, database: str) -> Filled:
    keys: list[str] = []

    async def fill(world: World) -> None:
        world.clock.instant = datetime.now(UTC)
        await fill_iacb(world)
        keys.append(world.mgt_key.encode(HexEncoder).decode())

    play(fill)
    return Filled(database, keys[0])


@pytest.mark.timeout(600)
def test_as_all_roles_in_turn(filled: Filled, tmp_path: Path) -> None:
    made_up = ask(filled, tmp_path, CALLERS, "--max-examples", "5", "--seed", "784")
    assert made_up > 1500


@pytest.mark.skipif(not EXAMPLES, reason="takes long: make fuzz")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("caller", CALLERS)
def test_as_one_role(filled: Filled, tmp_path: Path, caller: str) -> None:
    made_up = ask(filled, tmp_path, [caller], "--max-examples", str(EXAMPLES), "--workers", "2")
    print(f"{caller}: {made_up} requests")  # noqa: T201 - what a run of an hour is asked for
