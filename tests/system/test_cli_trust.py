"""The `hms` command on the running system: look before you apply, ask why, and stay within what was agreed."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .system import SERVICE, TENANT, System, until

HMS = [sys.executable, "-m", "hms_cli"]
Done = subprocess.CompletedProcess[str]


class Person:
    """Somebody in a role, at a terminal."""

    def __init__(self, system: System, role: str) -> None:
        token = system.ready["tokens"][role]
        self._environment = {"HMS_MGT_URL": system.ready["mgt_url"], "HMS_TOKEN": token, "PATH": "/usr/bin:/bin"}

    def run(self, *arguments: str, given: Any = None) -> Done:
        """Run a command; `given` is its standard input, as JSON."""
        return subprocess.run(
            [*HMS, *arguments],
            env=self._environment,
            input="" if given is None else json.dumps(given),
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def does(self, *arguments: str, given: Any = None) -> Done:
        """Run a command that works."""
        done = self.run(*arguments, given=given)
        assert done.returncode == 0, done.stderr
        return done

    def reads(self, *arguments: str) -> Any:
        """Return what a command that works prints, as a document."""
        return json.loads(self.does(*arguments, "-o", "json").stdout)


@pytest.fixture
def manager(system: System) -> Person:
    return Person(system, "release_manager")


@pytest.fixture
def approver(system: System) -> Person:
    return Person(system, "approver")


def wanted(**other: Any) -> dict[str, Any]:
    patch = {"service": SERVICE, "version_selector": ">=2.1.0", "changes": {"rate_limit_rps": 80}, "tenant": TENANT}
    return {**patch, "window": {"start": "now", "duration": "1h"}, **other}


@pytest.fixture
def applied(manager: Person) -> Iterator[str]:
    """A patch in effect, rolled back afterwards with whatever took its place."""
    done = manager.does("apply", "-f", "-", "--wait", "-o", "name", given=wanted())
    yield done.stdout.strip()
    for one in manager.reads("get", "--status", "APPLIED")["items"]:
        manager.does("rollback", str(one["patch_id"]), "--wait")


def test_diff_tells_before_and_after_and_stores_nothing(manager: Person) -> None:
    before = manager.reads("get")
    done = manager.run("diff", "-f", "-", given=wanted())
    assert done.returncode == 1, done.stderr
    for words in ("-rate_limit_rps: 50", "+rate_limit_rps: 80", "100% of the tenant's instances (3 of 3)", "allow"):
        assert words in done.stdout
    unchanged = manager.run("diff", "-f", "-", given=wanted(changes={"rate_limit_rps": 50}))
    assert unchanged.returncode == 0, unchanged.stdout
    nobody = manager.run("diff", "-f", "-", given=wanted(version_selector=">=9"))
    assert (nobody.returncode, "3: version: 2.1.0 does not match >=9" in nobody.stdout) == (0, True)
    denied = manager.run("diff", "-f", "-", given=wanted(priority=101))
    assert (denied.returncode, "priority above 100 needs a reason" in denied.stdout) == (3, True)
    assert manager.reads("get") == before


def test_a_conflict_is_told_with_the_ways_out_and_they_are_ways_out(manager: Person, applied: str) -> None:
    number = int(applied.removeprefix("patch/"))
    other = wanted(changes={"rate_limit_rps": 90})
    foreseen, met = manager.run("diff", "-f", "-", given=other), manager.run("apply", "-f", "-", given=other)
    assert (foreseen.returncode, met.returncode) == (3, 3)
    for words in (f"{applied} sets rate_limit_rps too, of version 2.1.0", "the next free window is 20", f"[{number}]"):
        assert words in foreseen.stdout
        assert words in met.stderr
    assert manager.run("diff", "-f", "-", given={**other, "priority": 1}).returncode == 1
    taken = manager.does("apply", "-f", "-", "--wait", "-o", "name", given={**other, "supersedes": number})
    watched = manager.does("status", applied, "--watch", "--timeout", "30")
    assert f"{taken.stdout.strip()} took its place" in watched.stderr


def test_a_window_moves_by_a_new_patch_and_explain_tells_it(manager: Person, applied: str) -> None:
    new = manager.does("window", applied, "--duration", "3h", "--reason", "longer", "--wait", "-o", "name")
    number = int(new.stdout.strip().removeprefix("patch/"))
    manager.does("status", applied, "--watch", "--timeout", "30")
    assert manager.reads("status", applied)["superseded_by"] == number
    told = manager.does("explain", SERVICE, "rate_limit_rps").stdout
    for words in ("base", "50", new.stdout.strip(), "80", ": longer", "signature verified", "50 at 20", "ends"):
        assert words in told
    first = manager.reads("status", applied)["created_at"]
    [then] = manager.reads("explain", SERVICE, "rate_limit_rps", "--at", first)["keys"]
    assert (then["value"], then["winner"]) == (50, "base")
    rows = manager.does("explain", SERVICE).stdout.splitlines()
    assert rows[0].split()[:3] == ["KEY", "VALUE", "FROM"]
    assert manager.run("explain", SERVICE, "no.such.key").returncode == 3


def test_a_quota_is_set_by_those_who_may_and_holds(manager: Person, approver: Person) -> None:
    assert manager.run("quota", "set", TENANT, "--replicas", "4").returncode == 6
    before = approver.reads("quota", "show", TENANT)
    knob = "rate_limit_rps=70"
    approver.does("quota", "set", TENANT, "--replicas", "4", "--knob", knob)
    more = manager.run("diff", "-f", "-", given=wanted(changes={"replicas": 6}))
    assert (more.returncode, "ask for 2 less of replicas" in more.stdout) == (3, True)
    assert "replicas 3 -> 6 of 4" in more.stdout
    capped = manager.run("apply", "-f", "-", given=wanted())
    assert (capped.returncode, "field /changes/rate_limit_rps: Exceeds the tenant's cap" in capped.stderr) == (3, True)
    approver.does("quota", "set", TENANT, "--replicas", str(before["replicas"]), "--knob", "rate_limit_rps=none")
    assert approver.reads("quota", "show", TENANT) == before


def test_a_freeze_holds_until_it_is_lifted(manager: Person, approver: Person) -> None:
    start = ["--tenant", TENANT, "--duration", "1h", "--reason", "nobody is in"]
    freeze = approver.does("freeze", "add", *start, "-o", "name").stdout.strip()
    foreseen, met = manager.run("diff", "-f", "-", given=wanted()), manager.run("apply", "-f", "-", given=wanted())
    assert (foreseen.returncode, met.returncode) == (3, 3)
    for shown in (foreseen.stdout, met.stderr):
        assert f"{freeze} holds tenant {TENANT} until" in shown
        assert "nobody is in" in shown
    assert freeze in manager.does("freeze", "list", "-o", "name").stdout.splitlines()
    approver.does("freeze", "lift", freeze, "--reason", "they are")
    assert freeze not in manager.does("freeze", "list", "-o", "name").stdout.splitlines()
    assert freeze in manager.does("freeze", "list", "--all", "-o", "name").stdout.splitlines()
    assert manager.run("diff", "-f", "-", given=wanted()).returncode == 1


def test_an_emergency_is_marked_and_waits_for_two_people(manager: Person, approver: Person) -> None:
    emergency = wanted(break_glass=True, reason="the register is on fire")
    foreseen = manager.run("diff", "-f", "-", given=emergency)
    assert (foreseen.returncode, "needs 2 approvals by" in foreseen.stdout) == (1, True)
    waited = manager.run("apply", "-f", "-", "--wait", "--timeout", "5", given=emergency)
    assert waited.returncode == 4
    assert "waiting for 2 of 2 approvals by" in waited.stderr
    assert "AWAITING_APPROVAL  BREAK-GLASS" in waited.stdout
    [one] = manager.reads("get", "--status", "awaiting-approval")["items"]
    number = str(one["patch_id"])
    assert manager.run("approve", number).returncode == 6
    approved = approver.does("approve", number, "--comment", "I smell smoke")
    assert f"patch/{number}: waiting for 1 of 2 approvals by" in approved.stderr
    assert "I smell smoke" in manager.does("status", number).stdout
    manager.does("cancel", number)
    second = manager.does("apply", "-f", "-", "-o", "name", given=emergency).stdout.strip()
    until("it waits", lambda: manager.reads("status", second)["status"], lambda seen: seen == "AWAITING_APPROVAL")
    approver.does("reject", second, "--comment", "false alarm")
    ended = manager.run("status", second, "--watch")
    assert (ended.returncode, "false alarm" in ended.stderr) == (3, True)


def test_a_stream_goes_back_to_a_revision(manager: Person, applied: str) -> None:
    number = int(applied.removeprefix("patch/"))
    found = manager.reads("stream", "revisions", SERVICE, "--tenant", TENANT)["items"]
    held = [one for one in found if number in one["patches"]]
    before = next(one for one in found if one["revision"] < held[-1]["revision"] and not one["patches"])
    done = manager.does("stream", "rollback", SERVICE, str(before["revision"]), "--tenant", TENANT)
    assert done.stdout.splitlines()[1].split() == [str(number), "ended"]
    ended = manager.run("status", applied, "--watch", "--timeout", "30")
    assert (ended.returncode, "it was rolled back" in ended.stderr) == (5, True)


def test_the_audit_has_it_all_for_those_who_may_read_it(system: System, manager: Person, applied: str) -> None:
    auditor = Person(system, "auditor")
    assert manager.run("audit").returncode == 6
    rows = auditor.reads("audit", "--subject", applied)["items"]
    assert rows[-1]["action"] == "patch.queued"
    assert rows[-1]["actor"] == "release_manager"
    table = auditor.does("audit", "--subject", applied, "--action", "patch.*").stdout
    assert "ROLLING_OUT -> APPLIED" in table
    lines = auditor.does("audit", "--format", "jsonl", "--subject", applied).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [row["id"] for row in reversed(rows)]
    exported = auditor.does("audit", "--format", "csv", "--action", "denied").stdout
    assert {row["action"] for row in csv.DictReader(io.StringIO(exported))} == {"denied"}
