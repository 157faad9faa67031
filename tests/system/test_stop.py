"""`up` ends everything it started, on SIGTERM and on SIGINT, and started again it goes on where it was."""

import signal

import pytest

from .system import System, alive, await_instant, until, window_end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_ends_every_child_and_a_new_start_goes_on_where_it_was(system: System, number: signal.Signals) -> None:
    bases = {name: seen.conf for name, seen in system.sight().items()}
    standing = system.apply({"rate_limit_rps": 120, "search.page_size": 10})
    shown = {name: seen.conf for name, seen in system.sight().items()}
    short = system.apply({"rate_limit_rps": 130}, {"start": "now", "duration": "8s"}, priority=1)
    later = system.submit({"rate_limit_rps": 140}, {"start": "2099-01-01T00:00Z", "end": "2099-01-02T00:00Z"})
    system.reaches(later, "SCHEDULED")
    end = window_end(system.patch(short))
    children = system.children()
    assert len(children) >= 3 * 3 + 5, "sidecars, nginxes with workers, Postgres, Redis, GOV, API, worker"
    assert system.patch(short)["status"] == "APPLIED", "the machine was too slow for this window"

    assert system.stop(number) == 0

    assert [one for one in children if alive(one)] == []
    assert system.processes() == []
    await_instant(end)

    system.start()
    # The patch in force is in force, the one that ended meanwhile is not.
    until("the limit is 120 again", system.sight, lambda _: system.shows(120), 5)
    assert {name: seen.conf for name, seen in system.sight().items()} == shown
    system.reaches(short, "EXPIRED")
    assert [system.patch(patch_id)["status"] for patch_id in (standing, later)] == ["APPLIED", "SCHEDULED"]
    until("three instances are live", system.fleet, lambda fleet: [one["status"] for one in fleet] == ["LIVE"] * 3)

    system.ask("POST", f"/api/patch/{later}/cancel").raise_for_status()
    system.roll_back(standing)
    assert {name: seen.conf for name, seen in system.sight().items()} == bases


def test_a_second_up_on_the_same_data_is_refused_and_harms_nothing(system: System) -> None:
    other = System(system.data.parent)
    with pytest.raises(AssertionError, match="another `hms-mgt up` already runs"):
        other.start()
    assert other.up.wait(10) == 2
    assert system.ask("GET", "/readyz").is_success
    assert system.shows(50)
