"""Several replicas of the API and of the worker on one database: claims, no double work, and a stop that finishes."""

import contextlib
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest

from hms_mgt.orchestrators.free_port import any_free

from .system import SERVICE, TENANT, System, until

CALLS = 50


class Replica:
    """A further process of the control plane, with the settings of the one that `up` started."""

    def __init__(self, system: System, part: str, log: Path) -> None:
        self.port = any_free()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {**system.part(part).environ(), "HMS_PORT": str(self.port)}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hms_mgt", part], env=environment, stdout=output, stderr=output
            )

    def is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/readyz", timeout=5).is_success
        return False


@pytest.fixture
def replica(system: System, tmp_path: Path) -> Iterator[Any]:
    """Start further processes; what still runs in the end is killed."""
    started: list[Replica] = []

    def start(part: str) -> Replica:
        started.append(Replica(system, part, tmp_path / f"{part}.log"))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()


def patch(number: int, **changed: Any) -> dict[str, Any]:
    window = {"start": "2099-01-01T00:00Z", "duration": "1h"}
    wanted = {"service": SERVICE, "version_selector": ">=2.1.0", "tenant": TENANT, "window": window}
    return {**wanted, "changes": {"rate_limit_rps": 100 + number}, **changed}


def post(system: System, url: str, body: dict[str, Any]) -> httpx.Response:
    """Post on a connection of its own."""
    headers = {"Authorization": f"Bearer {system.ready['tokens']['release_manager']}"}
    return httpx.post(f"{url}/api/patch", json=body, headers=headers, timeout=30)


def test_promise_19_of_fifty_posts_to_two_replicas_exactly_one_is_taken_in(system: System, replica: Any) -> None:
    other = replica("api")
    until("the second API answers", other.is_ready, bool)
    urls = [system.ready["mgt_url"], other.url]
    together = threading.Barrier(CALLS)

    def one(number: int) -> httpx.Response:
        together.wait()
        return post(system, urls[number % 2], patch(number))

    with ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(one, range(CALLS)))
    assert Counter(answer.status_code for answer in answers) == {202: 1, 409: CALLS - 1}
    [winner] = [answer.json()["patch_id"] for answer in answers if answer.status_code == 202]
    refused = [answer.json() for answer in answers if answer.status_code == 409]
    assert {problem["conflicts"][0]["patch_id"] for problem in refused} == {winner}
    system.ask("POST", f"/api/patch/{winner}/cancel").raise_for_status()


def test_two_workers_do_everything_once_also_when_one_of_them_is_killed(system: System, replica: Any) -> None:
    other = replica("worker")
    made = [system.submit({f"knob_{number}": number}) for number in range(4)]
    system.part("worker").kill()  # and `up` starts it again
    made += [system.submit({f"knob_{number}": number}) for number in range(4, 8)]
    for patch_id in made:
        system.reaches(patch_id, "APPLIED")
    other.process.kill()
    for patch_id in made:
        system.ask("POST", f"/api/patch/{patch_id}/rollback").raise_for_status()
    for patch_id in made:
        system.reaches(patch_id, "ROLLED_BACK")
    with system.sql() as tx:
        # Each step once, each revision once and in order, and all of them sent.
        steps = "SELECT patch_id, to_status FROM patch_event GROUP BY 1, 2 HAVING count(*) > 1"
        assert tx.execute(steps).fetchall() == []
        revisions = [row[0] for row in tx.execute("SELECT revision FROM stream_revision ORDER BY 1")]
        assert revisions == list(range(1, len(revisions) + 1))
        assert len(revisions) >= 2 * len(made)
    pending = "SELECT count(*) FROM outbox WHERE published_at IS NULL"

    def unsent() -> int:
        with system.sql() as tx:
            return int(tx.execute(pending).fetchall()[0][0])

    until("everything is sent", unsent, lambda left: left == 0)


def test_an_api_that_is_stopped_answers_what_it_took(system: System, replica: Any) -> None:
    other = replica("api")
    until("the second API answers", other.is_ready, bool)
    answered: list[int] = []
    turned_away: list[str] = []
    numbers = count()
    stopped = threading.Event()

    def keep_posting() -> None:
        while not stopped.is_set():
            try:
                body = patch(0, changes={f"stop_{next(numbers)}": 1})
                answered.append(post(system, other.url, body).status_code)
            except httpx.ConnectError:
                return  # it takes nothing any more
            except httpx.HTTPError as error:
                # What still waited in the queue of the port when that closed; nothing of it may have been taken.
                turned_away.append(repr(error))

    threads = [threading.Thread(target=keep_posting) for _ in range(4)]
    for thread in threads:
        thread.start()
    until("some are answered", lambda: len(answered), lambda seen: seen > 20)
    other.process.send_signal(signal.SIGTERM)
    assert other.process.wait(15) == 0
    stopped.set()
    for thread in threads:
        thread.join()
    assert set(answered) == {202}
    assert len(turned_away) <= len(threads)
    with system.sql() as tx:
        stored = tx.execute("SELECT count(*) FROM patch WHERE changes::text LIKE '%stop_%'").fetchall()[0][0]
    assert stored == len(answered)
