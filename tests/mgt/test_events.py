"""The steps of patches as server-sent events, over real sockets: none is missed, none comes twice, none is foreign."""

import json
import random
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx
import psycopg
import pytest

from hms_mgt.store.duties import CHANNEL
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.served import Served, served

SERVICE = "ARTIST_REGISTRY_API"
Connection = psycopg.Connection[Any]

# --- a client as the standard says -------------------------------------------------------------------------


class Got(NamedTuple):
    """One event."""

    id: str
    data: dict[str, Any]


def events(lines: Iterator[str]) -> Iterator[Got]:
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line:
            if "data" in fields:
                assert fields["event"] == "patch"
                yield Got(fields["id"], json.loads(fields["data"]))
            fields = {}


@contextmanager
def asked(api: Served, path: str, who: str = "viewer@IACB", **headers: str) -> Iterator[httpx.Response]:
    sent = {"Authorization": f"Bearer {who}", "Accept": "text/event-stream"} | headers
    with httpx.stream("GET", api.url + path, headers=sent, timeout=20) as answer:
        yield answer


@contextmanager
def following(api: Served, path: str, who: str = "viewer@IACB", **headers: str) -> Iterator[Iterator[Got]]:
    with asked(api, path, who, **headers) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        # The place the stream begins at: from now on nothing is missed.
        assert next(lines).startswith("id: ")
        yield events(lines)


# --- what happens to patches, one transaction at a time --------------------------------------------------------


def add_patch(on: Connection, tenant: str = "IACB", service: str = SERVICE) -> int:
    query = """
        INSERT INTO patch (tenant, service, version_selector, changes, window_start, priority, reason, status, author,
                           author_role, created_at, updated_at, body_digest, next_attempt_at)
        VALUES (%s, %s, '*', '{"a": 1}', now(), 0, '', 'QUEUED', 'x', 'release_manager', now(), now(), '', now())
        RETURNING id"""
    row = on.execute(query, (tenant, service)).fetchone()
    assert row is not None
    return int(row[0])


def add_event(on: Connection, patch_id: int, to: str = "QUEUED") -> int:
    query = """
        INSERT INTO patch_event (tenant, patch_id, at, to_status, actor, detail)
        SELECT tenant, id, now(), %s, 'somebody', 'line one\nline two' FROM patch WHERE id = %s RETURNING id"""
    row = on.execute(query, (to, patch_id)).fetchone()
    on.execute("SELECT pg_notify(%s, '')", (CHANNEL,))
    assert row is not None
    return int(row[0])


def ids(some: Sequence[Got]) -> list[int]:
    """The ids of the rows."""
    return [int(one.id.partition("-")[2]) for one in some]


@pytest.fixture(scope="module")
def api(postgres: str) -> Iterator[Served]:
    """One process for all tests; its database is emptied and filled anew for each."""
    with served(postgres) as made:
        yield made


@pytest.fixture
def populated(play: Play, database: str) -> str:
    """The URL of a database with two tenants, their service and their tokens."""

    async def nothing_more(_: World) -> None:
        return

    play(nothing_more)
    return database


@pytest.fixture
def db(populated: str) -> Iterator[Connection]:
    with psycopg.connect(populated, autocommit=True) as connection:
        yield connection


def take(stream: Iterator[Got], count: int) -> list[Got]:
    return [next(stream) for _ in range(count)]


# --- one patch ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("populated")
def test_a_patchs_stream_tells_every_step_and_ends_with_the_patch(api: Served) -> None:
    manager = {"Authorization": "Bearer release_manager@IACB"}
    answer = httpx.post(f"{api.url}/api/patch", json=dict(PATCH), headers=manager)
    href = f"{api.url}{answer.headers['location']}"
    with following(api, f"{answer.headers['location']}/events") as stream:
        first = next(stream)
        httpx.post(f"{href}/cancel", headers=manager).raise_for_status()
        rest = list(stream)
    shown = httpx.get(href, headers=manager).json()
    whose = {"patch_id": shown["patch_id"], "tenant": "IACB", "service": SERVICE}
    assert [one.data for one in (first, *rest)] == [whose | event for event in shown["events"]]
    assert [one.data["to"] for one in (first, *rest)] == ["QUEUED", "CANCELLED"]


def test_who_comes_again_goes_on_right_behind_the_last_event(db: Connection, api: Served) -> None:
    patch_id = add_patch(db)
    rows = [add_event(db, patch_id, to) for to in ("QUEUED", "APPROVED", "ROLLING_OUT", "APPLIED")]
    path = f"/api/patch/{patch_id}/events"
    with following(api, path) as stream:
        seen = take(stream, 4)
    assert ids(seen) == rows
    with following(api, path, **{"Last-Event-ID": seen[1].id}) as stream:
        assert take(stream, 2) == seen[2:]
    with following(api, f"{path}?last_event_id={seen[2].id}") as stream:
        assert take(stream, 1) == seen[3:]
    # The header is the newer word: a browser repeats the URL it was given first.
    with following(api, f"{path}?last_event_id={seen[0].id}", **{"Last-Event-ID": seen[2].id}) as stream:
        assert take(stream, 1) == seen[3:]


def test_an_event_id_that_is_none_is_refused(db: Connection, api: Served) -> None:
    patch_id = add_patch(db)
    for path in (f"/api/patch/{patch_id}/events", "/api/events"):
        for bad in ("1", "a-b", "1-2-3", "-1-2", "1" * 19 + "-1", "٣-٣"):
            for query, headers, pointer in (
                ({}, [(b"Last-Event-ID", bad.encode())], "/header/last-event-id"),
                ({"last_event_id": bad}, [], "/query/last_event_id"),
            ):
                sent = [(b"Authorization", b"Bearer viewer@IACB"), *headers]
                answer = httpx.get(api.url + path, params=query, headers=sent)
                assert answer.status_code == 422, (bad, answer.text)
                assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]


def test_behind_the_end_of_a_patch_there_is_nothing_to_come_again_for(db: Connection, api: Served) -> None:
    patch_id = add_patch(db)
    add_event(db, patch_id)
    add_event(db, patch_id, "REJECTED")
    path = f"/api/patch/{patch_id}/events"
    with following(api, path) as stream:
        seen = list(stream)
    assert [one.data["to"] for one in seen] == ["QUEUED", "REJECTED"]
    for last, status in ((seen[0].id, 200), (seen[1].id, 204)):
        with asked(api, path, **{"Last-Event-ID": last}) as answer:
            assert answer.status_code == status


# --- all patches ------------------------------------------------------------------------------------------------


def test_the_stream_of_all_begins_now_and_is_narrowed_by_tenant_and_service(db: Connection, api: Served) -> None:
    patches = [add_patch(db, *one) for one in (("IACB", SERVICE), ("IACB", "OTHER"), ("VA", SERVICE))]
    for patch_id in patches:
        add_event(db, patch_id)
    for query, who, expected in (
        ("", "viewer@IACB", [0, 1]),
        (f"?service={SERVICE}", "viewer@IACB", [0]),
        ("?tenant=IACB&service=OTHER", "viewer@IACB", [1]),
        ("", "viewer@VA", [2]),
    ):
        with following(api, f"/api/events{query}", who) as stream:
            rows = [add_event(db, patch_id) for patch_id in patches]
            assert ids(take(stream, len(expected))) == [rows[one] for one in expected], (query, who)


def test_nobody_follows_another_tenants_patches(db: Connection, populated: str) -> None:
    patch_id = add_patch(db, "VA")
    with served(populated, idle=0.5) as api:
        add_event(db, patch_id)
        with asked(api, f"/api/patch/{patch_id}/events") as answer:
            assert answer.status_code == 404
        for query in ("?last_event_id=0-0", "?tenant=VA&last_event_id=0-0"):
            with following(api, f"/api/events{query}", Accept="*/*") as stream:
                add_event(db, patch_id)
                assert list(stream) == []


# --- no event is skipped, none comes twice -------------------------------------------------------------------------


def test_an_event_waits_for_the_older_transactions_and_none_is_skipped(db: Connection, populated: str) -> None:
    patch_id = add_patch(db)
    with served(populated, idle=1) as api, psycopg.connect(populated) as slow:
        early = add_event(slow, patch_id)
        late = add_event(db, patch_id)
        with following(api, f"/api/patch/{patch_id}/events", Accept="*/*") as stream:
            assert list(stream) == []
        with following(api, f"/api/patch/{patch_id}/events") as stream:
            slow.commit()
            assert ids(take(stream, 2)) == [early, late]


def test_an_older_transaction_that_fails_holds_nothing_back_for_long(
    db: Connection, populated: str, api: Served
) -> None:
    patch_id = add_patch(db)
    waited = 0.0
    with psycopg.connect(populated) as slow, following(api, "/api/events?last_event_id=0-0") as stream:
        for _ in range(4):
            add_event(slow, patch_id)
            late = add_event(db, patch_id)
            time.sleep(0.3)
            slow.rollback()
            began = time.monotonic()
            assert ids(take(stream, 1)) == [late]
            waited += time.monotonic() - began
    # Nobody notifies of a transaction that failed; the next regular look would each time have been 1.7 s away.
    assert waited < 5


def test_many_writers_that_commit_in_any_order_are_followed_by_those_who_break_off_anywhere(populated: str) -> None:
    """Each follower's line, pieced together over its many connections, is the same: every event once, in one order."""
    dice = random.Random(784)  # noqa: S311 - order, not secrets
    writers, each, followers = 6, 15, 3

    def write(patch_id: int) -> None:
        with psycopg.connect(populated) as connection:
            for _ in range(each):
                for _ in range(dice.randint(1, 3)):
                    add_event(connection, patch_id)
                    time.sleep(dice.random() * 0.08)
                connection.execute("SELECT 1")
                (connection.commit, connection.commit, connection.rollback)[dice.randint(0, 2)]()

    def follow(api: Served, done: list[bool]) -> list[Got]:
        seen: list[Got] = []
        place = "0-0"
        while True:
            finished = bool(done)
            limit = dice.randint(1, 20)
            with following(api, "/api/events", **{"Last-Event-ID": place, "Accept": "*/*"}) as stream:
                part = [one for one, _ in zip(stream, range(limit), strict=False)]
            seen += part
            place = part[-1].id if part else place
            if finished and not part:
                return seen

    with psycopg.connect(populated, autocommit=True) as setup:
        patches = [add_patch(setup) for _ in range(writers)]
    done: list[bool] = []
    with served(populated, idle=0.4) as api, ThreadPoolExecutor(writers + followers) as pool:
        lines = [pool.submit(follow, api, done) for _ in range(followers)]
        for one in [pool.submit(write, patch_id) for patch_id in patches]:
            one.result()
        done.append(True)
        first, *others = (ids(line.result()) for line in lines)
    with psycopg.connect(populated) as check:
        written = [row[0] for row in check.execute("SELECT id FROM patch_event ORDER BY tx, id")]
    assert len(written) > writers * each / 2
    assert first == written
    assert all(other == first for other in others)


# --- what a stream costs and when it ends ----------------------------------------------------------------------------


def test_events_come_at_once_by_notification_and_soon_without(db: Connection, api: Served) -> None:
    patch_id = add_patch(db)
    with following(api, f"/api/patch/{patch_id}/events") as stream:
        began = time.monotonic()
        for _ in range(6):
            row = add_event(db, patch_id)
            assert ids(take(stream, 1)) == [row]
        # By looking alone each would have taken the two seconds between two looks.
        assert time.monotonic() - began < 6
        db.execute(
            "INSERT INTO patch_event (tenant, patch_id, at, to_status, actor, detail)"
            " VALUES ('IACB', %s, now(), 'APPROVED', 'x', '')",
            (patch_id,),
        )
        began = time.monotonic()
        next(stream)
        assert time.monotonic() - began < 4


def test_streams_that_wait_hold_no_connection_and_share_one_that_listens(db: Connection, populated: str) -> None:
    patch_id = add_patch(db)
    with served(populated, most=30) as api, ThreadPoolExecutor(30) as pool:
        before = db.execute("SELECT count(*) FROM pg_stat_activity").fetchone()

        there = threading.Semaphore(0)

        def wait(_: int) -> int:
            with following(api, f"/api/patch/{patch_id}/events") as stream:
                there.release()
                return ids(take(stream, 1))[0]

        waiting = [pool.submit(wait, number) for number in range(30)]
        for _ in waiting:
            assert there.acquire(timeout=30)
        with asked(api, f"/api/patch/{patch_id}/events", Accept="*/*") as answer:
            assert answer.status_code == 503
        time.sleep(0.5)
        ((listening, held),) = db.execute(
            "SELECT count(*) FILTER (WHERE query LIKE 'LISTEN%'), count(*) FILTER (WHERE state LIKE 'idle in%')"
            " FROM pg_stat_activity"
        ).fetchall()
        after = db.execute("SELECT count(*) FROM pg_stat_activity").fetchone()
        assert (listening, held) == (1, 0)
        assert before is not None
        assert after is not None
        # The pool and the one that listens.
        assert after[0] - before[0] <= 11
        row = add_event(db, patch_id)
        assert {one.result() for one in waiting} == {row}
        # Whoever left made room, and the last one took the connection that listened along.
        with following(api, f"/api/patch/{patch_id}/events") as stream:
            assert ids(take(stream, 1)) == [row]
        wait_until(db, "SELECT count(*) = 0 FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")


def wait_until(db: Connection, query: str) -> None:
    for _ in range(100):
        (row,) = db.execute(query.encode()).fetchall()
        if row[0]:
            return
        time.sleep(0.05)
    raise AssertionError(query)


def test_who_knows_no_event_streams_is_let_go_and_who_does_hears_a_beat(db: Connection, populated: str) -> None:
    path = f"/api/patch/{add_patch(db)}/events"
    with served(populated, idle=0.3, beat=0.5) as api:
        with asked(api, path, Accept="*/*") as answer:
            lines = list(answer.iter_lines())
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-store", "no")
        assert lines[0].startswith("id: ")
        assert lines[1:] == ["retry: 2000", ""]
        with asked(api, path) as answer:
            heard = (line for line in answer.iter_lines() if line.startswith(":"))
            assert [next(heard), next(heard)] == [": ping", ": ping"]


def test_a_token_that_is_revoked_follows_no_longer(db: Connection, api: Served) -> None:
    path = f"/api/patch/{add_patch(db)}/events"
    with following(api, path) as stream:
        db.execute("UPDATE token SET revoked_at = now() WHERE name = 'viewer@IACB'")
        began = time.monotonic()
        assert list(stream) == []
        assert time.monotonic() - began < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_is_to_end_ends_its_streams_at_once(db: Connection, populated: str, number: int) -> None:
    path = f"/api/patch/{add_patch(db)}/events"
    with served(populated) as api, following(api, path) as stream:
        began = time.monotonic()
        api.process.send_signal(number)
        # As streams end: whole, so that the client just comes again.
        assert list(stream) == []
        api.process.wait(10)
        assert time.monotonic() - began < 4
