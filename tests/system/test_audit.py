"""The audit of the running system: whole in use, witnessed outside the database, and broken once somebody edits it."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg

from .system import System, until


def verify(system: System) -> subprocess.CompletedProcess[str]:
    """Verify with nothing but the database, the trust file and what the worker kept."""
    program, kept = Path(sys.executable).with_name("hms-mgt"), system.data / "audit-heads.jsonl"
    command = [str(program), "audit", "verify", "--heads", str(kept)]
    environment = {"HMS_DATABASE_URL": system.ready["database_url"], "HMS_TRUST": system.ready["trust_file"]}
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_audit_of_the_running_system_is_whole_until_somebody_edits_it(system: System) -> None:
    kept = system.data / "audit-heads.jsonl"
    until("the witness", kept.exists, bool)
    whole = until("every end is written whole", lambda: verify(system), lambda done: done.returncode == 0)
    assert "the audit is whole" in whole.stderr
    with psycopg.connect(system.ready["database_url"]) as owner:
        owner.execute("UPDATE audit SET actor = 'eve' WHERE chain = 'IACB' AND seq = 2")
    broken = verify(system)
    assert (broken.returncode, broken.stdout) == (1, "IACB 2: actor was changed\n")
