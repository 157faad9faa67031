"""What was committed arrives, once, whatever dies in between (promises 9, 10 and 11).

MGT killed between commit and publish, MGT killed between publish and its note of it, Redis killed and back empty.
"""

import time
from typing import Any

import psutil
import pytest
import redis

from .system import SERVICE, TENANT, System, path_of, until

_HEAD_WITHIN_S = 5.0
# The steps that put a patch into its stream, and those that take it out.
_STREAM_STEPS = ("ROLLING_OUT", "REVERTING")


def head(system: System) -> int:
    """Return the revision that the stream has in the database."""
    query = "SELECT revision FROM stream WHERE (tenant, service) = (%s, %s)"
    with system.sql() as sql:
        row = sql.execute(query, (TENANT, SERVICE)).fetchone()
    return 0 if row is None else int(row[0])


def await_head(system: System, healed: float, limit: int) -> None:
    """Wait until every sidecar has the head's revision and shows it, at most 5 s after `healed` (monotonic)."""
    wanted = head(system)
    within = healed + _HEAD_WITHIN_S - time.monotonic()
    until(f"the limit {limit} everywhere", system.sight, lambda _: system.shows(limit), within)
    # Their reports take another moment to be read.
    until(
        f"revision {wanted} everywhere",
        lambda: [(one["status"], one["revision"]) for one in system.fleet()],
        lambda seen: seen == [("LIVE", wanted)] * 3,
        5,
    )


def assert_nothing_lost_or_doubled(system: System) -> None:
    """Compare the patches' histories with the stream: one revision a step, each published, each effective once."""
    found = system.ask("GET", "/api/patch?limit=200").raise_for_status().json()["items"]
    patches = [system.patch(one["patch_id"]) for one in found]
    steps = sum(path_of(patch).count(status) for patch in patches for status in _STREAM_STEPS)
    wanted = list(range(1, head(system) + 1))
    assert len(wanted) == steps
    with system.sql() as sql:
        stored = sql.execute("SELECT revision FROM stream_revision ORDER BY revision").fetchall()
        outbox = sql.execute("SELECT revision, published_at IS NOT NULL FROM outbox ORDER BY revision").fetchall()
    assert [revision for (revision,) in stored] == wanted
    assert outbox == [(revision, True) for revision in wanted]
    for patch in patches:
        assert effects(patch) == sorted(one.name for one in system.instances())


def effects(patch: dict[str, Any]) -> list[str]:
    """Name the instances that confirmed a patch, once for each time they did."""
    return sorted(receipt["instance"] for receipt in patch["receipts"] if receipt["stage"] == "effective")


@pytest.mark.parametrize("failpoint", ["outbox.committed", "outbox.published"])
def test_promise_10_a_patch_is_applied_once_though_mgt_is_killed_around_publishing(
    new_system: System, failpoint: str
) -> None:
    system = new_system
    if system.runs:
        system.stop()
    said = len(system.output.read_text()) if system.output.exists() else 0
    system.start(HMS_FAILPOINT=failpoint)
    before, doomed = head(system), system.part("worker")
    patch_id = system.submit({"rate_limit_rps": 110})
    reborn = until("up starts the worker again", lambda: system.part("worker"), lambda one: one.pid != doomed.pid)
    healed = time.monotonic() - (time.time() - reborn.create_time())
    assert "worker ended with -9; starting it again" in system.output.read_text()[said:]
    await_head(system, healed, 110)
    system.reaches(patch_id, "APPLIED")
    assert head(system) == before + 1
    assert system.part("worker").pid == reborn.pid, "the failpoint kills once"
    system.roll_back(patch_id)
    await_head(system, time.monotonic(), 50)
    assert head(system) == before + 2
    assert_nothing_lost_or_doubled(system)


def test_promise_9_after_redis_was_killed_and_came_back_empty_all_sidecars_reach_the_head(new_system: System) -> None:
    system = new_system
    if not system.runs:
        system.start()
    standing = system.apply({"rate_limit_rps": 90, "search.page_size": 30})
    up, said = psutil.Process(system.up.pid), len(system.log("worker"))
    up.suspend()  # for this long nobody starts Redis again
    try:
        system.part("redis").kill()
        during = system.submit({"rate_limit_rps": 95}, priority=1)
        system.reaches(during, "ROLLING_OUT")
        until("the worker sees the outage", lambda: system.log("worker")[said:], lambda log: "Redis does not" in log)
        assert system.patch(during)["status"] == "ROLLING_OUT", "nobody can have confirmed it"
        assert system.shows(90), "an outage changes nothing"
    finally:
        up.resume()
    until("Redis is back", lambda: answers(system), bool)
    await_head(system, time.monotonic(), 95)
    system.reaches(during, "APPLIED")
    assert system.patch(standing)["status"] == "APPLIED"
    for patch_id, limit in ((standing, 95), (during, 50)):
        system.roll_back(patch_id)
        assert system.shows(limit)
    await_head(system, time.monotonic(), 50)
    assert_nothing_lost_or_doubled(system)


def answers(system: System) -> bool:
    """Tell whether Redis is there."""
    with system.broker() as broker:
        try:
            return bool(broker.ping())
        except redis.ConnectionError:
            return False
