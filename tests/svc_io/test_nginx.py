"""The whole chain beside a real nginx: from a signed message on Redis to a header of the running service."""

import time
from collections.abc import Callable

from .rig import CONF, Acks, Agent, Control, Nginx, Redis, until


def test_a_patch_takes_effect_and_its_window_ends_by_itself(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks, redis_server: Redis
) -> None:
    nginx_agent.start()
    acks.wait_active()
    a_second = nginx_agent.a_second()
    end = time.time() + 2.5 * a_second
    control.put(784, {"rate_limit_rps": 200, "replicas": 6}, end=end)
    report = acks.wait_active(784)
    assert nginx.header() == "200"
    assert (report["revision"], report["phase"]) == (1, "steady")
    assert acks.receipts(784) == ["received", "verified", "checked", "written", "reloaded", "effective"]
    redis_server.kill()
    until(lambda: nginx.header() == "50", "the window's end to revert", end + a_second - time.time())
    assert time.time() >= end
    assert nginx_agent.conf.read_text() == CONF


def test_effective_means_that_no_old_worker_answers_any_more(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks
) -> None:
    nginx_agent.start()
    acks.wait_active()
    for limit in (60, 70, 80):
        control.put(limit, {"rate_limit_rps": limit}, priority=limit)
        until(lambda limit=limit: limit in acks.last()["active"], "effect")  # type: ignore[misc]
        assert {nginx.header() for _ in range(30)} == {str(limit)}


def test_a_candidate_nginx_refuses_never_becomes_the_file(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks
) -> None:
    nginx_agent.start()
    acks.wait_active()
    control.put(7, {"rate_limit_rps": "plenty"})
    report = until(lambda: acks.last() if acks.last()["failed"] else {}, "the failure in a report")
    (failed,) = report["failed"]
    assert (failed["patch_id"], failed["stage"]) == (7, "checked")
    assert 'invalid rate "rate=plentyr/s"' in failed["detail"]
    assert acks.receipts(7) == ["received", "verified", "failed"]
    assert nginx.header() == "50"
    assert nginx_agent.conf.read_text() == CONF
    assert nginx.reloads() == 0
    control.end(7)
    until(lambda: acks.last()["phase"] == "steady" and not acks.last()["failed"], "the failure to be forgotten")


def test_a_poison_patch_in_a_batch_blocks_only_itself(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks
) -> None:
    nginx_agent.start()
    acks.wait_active()
    poison = control.entry(2, {"rate_limit_rps": "poison"}, priority=2)
    control.publish([control.entry(1, {"greeting": "good"}), poison, control.entry(3, {"replicas": 6})])
    report = acks.wait_active(1, 3)
    assert [failed["patch_id"] for failed in report["failed"]] == [2]
    assert (nginx.header(), nginx.header("x-greeting")) == ("50", "good")
    assert acks.receipts(1)[-1] == acks.receipts(3)[-1] == "effective"
    assert acks.receipts(2)[-1] == "failed"


def test_a_reload_without_effect_is_undone(
    new_agent: Callable[..., Agent], nginx: Nginx, control: Control, acks: Acks
) -> None:
    # USR1 only makes nginx reopen its logs: signalled, but not applied.
    agent = new_agent(**nginx.settings(), HMS_SIGNAL="USR1", HMS_CONFIRM_TIMEOUT="0.5").start()
    acks.wait_active()
    before = nginx.conf.read_bytes()
    control.put(8, {"rate_limit_rps": 200})
    until(lambda: "failed" in acks.receipts(8), "the failure")
    report = until(lambda: acks.last() if acks.last()["phase"] == "failed" else {}, "the end of the restoration")
    assert report["active"] == []
    assert report["failed"][0]["stage"] == "effective"
    assert "expected '200'" in report["failed"][0]["detail"]
    assert agent.conf.read_text() == CONF
    assert nginx.conf.read_bytes() == before


def test_a_burst_is_few_reloads(nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks) -> None:
    nginx_agent.start()
    acks.wait_active()
    before = nginx.reloads()
    for patch_id in range(1, 51):
        control.put(patch_id, {"rate_limit_rps": 100 + patch_id}, priority=patch_id)
    acks.wait_active(*range(1, 51))
    assert nginx.header() == "150"
    assert 1 <= nginx.reloads() - before <= 5


def test_a_patch_waits_for_a_process_that_does_not_run_yet(
    nginx_agent: Agent, nginx: Nginx, control: Control, acks: Acks
) -> None:
    nginx.stop()
    nginx_agent.start()
    control.put(9, {"rate_limit_rps": 90})
    until(lambda: "limit_rps: 90" in nginx_agent.conf.read_text(), "the file, which the process will start from")
    control.put(10, {"greeting": "newer"})
    until(lambda: "newer" in nginx.conf.read_text(), "a newer patch not to wait for the process")
    assert acks.last().get("active", []) == []
    nginx.start()
    acks.wait_active(9, 10)
    assert not acks.last()["failed"]
