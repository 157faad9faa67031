"""The README's walk-through, pasted: every command of it does what the README says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from .system import System

ROOT = Path(__file__).parents[2]


def walk_through(system: System) -> str:
    """The commands, with only the places changed: where MGT answers, its data, and which Python is installed."""
    block = re.search(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block, "the README has its commands in a block"
    commands = (
        block[1].replace("http://127.0.0.1:8080", system.ready["mgt_url"]).replace("hms-data/", f"{system.data}/")
    )
    return commands.replace(".venv/bin/python", sys.executable).replace(
        "$PWD/.venv/bin", str(Path(sys.executable).parent)
    )


def test_the_readmes_commands_do_what_it_says(system: System) -> None:
    pasted = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", walk_through(system)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert pasted.returncode == 0, pasted.stderr
    told = ["LIVE", "X-RPS-Limit: 50", '"status":"QUEUED"', "APPLIED", "X-RPS-Limit: 200", "ROLLED_BACK"]
    places = [pasted.stdout.index(words) for words in told]
    assert places == sorted(places)
