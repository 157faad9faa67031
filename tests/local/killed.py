"""Runs a piece of our own code in a process of its own and has it kill itself where a test says."""

import signal
import subprocess
import sys

# Killed right after the n-th call that came back from a function, as by a power cut.
_PRELUDE = """
import asyncio, importlib, os, signal, sys
from pathlib import Path

def die_after(where, name, nth):
    place = importlib.import_module(where)
    for part in name.split(".")[:-1]:
        place = getattr(place, part)
    name, real, calls = name.split(".")[-1], getattr(place, name.split(".")[-1]), [0]

    def counted():
        calls[0] += 1
        if calls[0] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    async def later(*given, **named):
        result = await real(*given, **named)
        counted()
        return result

    def now(*given, **named):
        result = real(*given, **named)
        counted()
        return result

    setattr(place, name, later if asyncio.iscoroutinefunction(real) else now)
"""


def run(script: str, *arguments: object) -> bool:
    """Run a script that may use `die_after`. Returns whether it died of it; a failure of its own fails the test."""
    command = [sys.executable, "-c", _PRELUDE + script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0
