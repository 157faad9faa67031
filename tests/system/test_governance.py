"""Nothing goes around GOV: silent, dead or denying, no file changes without its signed yes (promises 10 and 12)."""

from typing import Any

import psutil
import pytest

from .system import System, path_of, until


def queued_because(system: System, patch_id: int, words: str) -> None:
    """Wait until a QUEUED patch says why it waits."""
    seen = until(
        "the patch says why it waits", lambda: system.patch(patch_id), lambda patch: words in patch["status_reason"]
    )
    assert seen["status"] == "QUEUED"
    assert seen["decision"] is None


def test_promise_12_while_gov_hangs_a_patch_stays_queued_says_why_and_goes_on_by_itself(system: System) -> None:
    before = system.conf_files()
    gov = system.part("gov")
    gov.suspend()
    try:
        patch_id = system.submit({"rate_limit_rps": 75})
        queued_because(system, patch_id, "GOV does not answer in time; tried 1 times, trying again")
        queued_because(system, patch_id, "tried 2 times")
        assert system.conf_files() == before
    finally:
        gov.resume()
    done = system.reaches(patch_id, "APPLIED")
    assert path_of(done) == ["QUEUED", "APPROVED", "ROLLING_OUT", "APPLIED"]
    assert done["decision"]["verdict"] == "allow"
    assert system.shows(75)
    system.roll_back(patch_id)
    assert system.shows(50)


def test_promise_12_while_gov_is_dead_a_patch_stays_queued_says_why_and_goes_on_by_itself(system: System) -> None:
    before = system.conf_files()
    up, dead = psutil.Process(system.up.pid), system.part("gov")
    up.suspend()  # for this long nobody starts GOV again
    try:
        dead.kill()
        patch_id = system.submit({"rate_limit_rps": 85})
        queued_because(system, patch_id, "GOV cannot be reached")
        assert system.conf_files() == before
    finally:
        up.resume()
    system.reaches(patch_id, "APPLIED")
    assert system.part("gov").pid != dead.pid
    assert system.shows(85)
    system.roll_back(patch_id)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (
            {"changes": {"rate_limit_rps": 60}, "window": {"start": "now", "duration": "91d"}},
            "a window may last at most 90 days, this one lasts 91",
        ),
        ({"changes": {"rate_limit_rps": 60}, "priority": 101}, "priority above 100 needs a reason"),
        ({"changes": {"rate_limit_rps": 60, "audit.enabled": False}}, "auditing may not be switched off"),
    ],
    ids=["too-long", "unreasoned", "unaudited"],
)
def test_promise_12_what_gov_denies_is_rejected_with_its_reasons_and_changes_no_file(
    system: System, asked: dict[str, Any], reason: str
) -> None:
    before = system.conf_files()
    revisions = [one["revision"] for one in system.fleet()]
    done = system.reaches(system.submit(**asked), "REJECTED")
    assert path_of(done) == ["QUEUED", "REJECTED"]
    assert done["status_reason"] == f"GOV denies: {reason}"
    assert done["decision"]["verdict"] == "deny"
    assert done["decision"]["reasons"] == [reason]
    assert system.conf_files() == before
    assert [one["revision"] for one in system.fleet()] == revisions
