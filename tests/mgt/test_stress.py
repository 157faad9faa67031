"""Everything at once: people on two replicas of the API, and the workers, each as fast as it can, for some seconds."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from random import Random
from typing import Any

import psycopg
import pytest

from hms_mgt.domain import conflict, quota
from hms_mgt.domain.deployment import Deployment
from hms_mgt.domain.patch import CANCELLABLE, STANDING, TRANSITIONS, Patch, Status
from hms_mgt.domain.window import Window
from hms_mgt.store import catalog, patches
from hms_mgt.store.database import EVERY_TENANT
from hms_mgt.usecases.register import NewDeployment, register_deployment
from hms_mgt.usecases.review import review_next
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.fleet import SERVICE, Fleet
from tests.mgt.people import join
from tests.mgt.steps import review, scaled_to, step

# On a busy machine less is done in a second: it goes on until every path was taken, or for far too long.
SECONDS, LONGEST_SECONDS = 7.0, 90.0
PEOPLE = 12
OTHERS = ("SEARCH_API", "BILLING_API")
# Nine replicas are the bases'. Each patch for replicas asks for three more, so there is never room for two.
MOST_REPLICAS = 14
EXPECTED = {200, 201, 202, 403, 404, 409, 422}
ANSWERS = {("window", 202), ("freeze", 201), ("rollback", 202), ("patch", 202), ("patch", 409)}
STATUSES = set(Status) - {Status.HALTED, Status.SUPERSEDED}
KNOBS: Sequence[Mapping[str, Any]] = ({"rate_limit_rps": 200}, {"search": {"size": 9}}, {"search": 4})


class Person:
    """Somebody who clicks on everything. What is tried is told by the seed; what comes of it is not."""

    def __init__(self, world: World, eyes: psycopg.Connection, seed: int) -> None:
        self._world = world
        self._eyes = eyes
        self._dice = Random(seed)  # noqa: S311 - to be repeatable
        self.answers: Counter[tuple[str, int]] = Counter()
        self.strange: list[str] = []
        acts: dict[Callable[[], Awaitable[None]], int] = {
            self._submit: 30,
            self._word: 16,
            self._end: 6,
            self._another_window: 8,
            self._freeze: 1,
            self._lift: 4,
            self._quota: 2,
            self._rehearse: 3,
            self._go_back: 2,
        }
        self._acts, self._weights = list(acts), list(acts.values())

    async def act(self) -> None:
        [one] = self._dice.choices(self._acts, self._weights)
        await one()

    async def _call(self, path: str, who: str = "release_manager@IACB", method: str = "POST", **more: Any) -> None:
        answer = await self._world.call(method, path, who, **more)
        self.answers[path.partition("?")[0].rpartition("/")[2], answer.status_code] += 1
        if answer.status_code not in EXPECTED:
            self.strange.append(f"{method} {path} {answer.status_code} {answer.text}")

    def _sql(self, query: str, *values: object) -> list[Any]:
        return self._eyes.execute(query, values).fetchall()

    def _document(self) -> dict[str, Any]:
        start = self._world.clock.now().timestamp() + self._dice.choice((0, 0, 0, 60, 600))
        window = {"start": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(start))}
        if self._dice.random() < 0.8:
            window["duration"] = self._dice.choice(("1m", "3m", "10m"))
        service = self._dice.choice((SERVICE, SERVICE, *OTHERS))
        changes = self._dice.choice((*KNOBS, {"replicas": 6}))
        document = {**PATCH, "service": service, "changes": changes, "window": window}
        if "replicas" not in changes:
            document["priority"] = self._dice.choice((0, 0, 0, 5))
            document["supersedes"] = self._some(service) if self._dice.random() < 0.5 else []
        return document

    def _some(self, service: str) -> list[int]:
        """Pick patches, but none for replicas: of those, what comes next would ask for less."""
        rows = self._sql(
            "SELECT id FROM patch WHERE NOT changes ? 'replicas' AND status = ANY(%s) AND service = %s",
            list(STANDING),
            service,
        )
        return self._dice.sample([row[0] for row in rows], min(len(rows), self._dice.choice((1, 1, 2))))

    async def _submit(self) -> None:
        key = {"Idempotency-Key": f"key-{self._dice.randrange(1000)}"} if self._dice.random() < 0.2 else {}
        await self._call("/api/patch", json=self._document(), headers=key)

    async def _rehearse(self) -> None:
        await self._call("/api/patch?dry_run=true", json=self._document())

    async def _word(self) -> None:
        waiting = self._sql("SELECT id FROM patch WHERE status = 'AWAITING_APPROVAL'")
        if waiting:
            word = self._dice.choice(("approve", "approve", "approve", "reject"))
            path = f"/api/patch/{self._dice.choice(waiting)[0]}/{word}"
            await self._call(path, self._dice.choice(("ann", "bob", "approver@IACB")), json={"comment": "so be it"})

    async def _end(self) -> None:
        rows = self._sql("SELECT id FROM patch WHERE status = ANY(%s)", list(STANDING))
        if rows:
            await self._call(f"/api/patch/{self._dice.choice(rows)[0]}/{self._dice.choice(('cancel', 'rollback'))}")

    async def _another_window(self) -> None:
        for number in self._some(SERVICE)[:1]:
            await self._call(f"/api/patch/{number}/window", json={"window": {"duration": "5m"}})

    async def _freeze(self) -> None:
        window = {"start": "now", "duration": self._dice.choice(("10s", "30s"))}
        await self._call("/api/freeze", "approver@IACB", json={"tenant": "IACB", "reason": "holidays", **window})

    async def _lift(self) -> None:
        for row in self._sql("SELECT id FROM freeze_window WHERE lifted_at IS NULL ORDER BY id DESC LIMIT 1"):
            await self._call(f"/api/freeze/{row[0]}/lift", "approver@IACB")

    async def _quota(self) -> None:
        replicas = self._dice.randint(12, MOST_REPLICAS)
        await self._call("/api/tenant/IACB/quota", "approver@IACB", "PUT", json={"replicas": replicas})

    async def _go_back(self) -> None:
        [[newest]] = self._sql("SELECT coalesce(max(revision), 1) FROM stream WHERE service = %s", SERVICE)
        asked = {"revision": max(1, newest - self._dice.randint(0, 4))}
        await self._call(f"/api/stream/IACB/{SERVICE}/rollback", json=asked)


async def look(world: World) -> None:
    """Hold what stands at one moment to what must be so at every moment."""
    async with world.db.transaction(EVERY_TENANT, still=True) as tx:
        standing = await patches.standing(tx, "IACB")
        carried = await patches.to_carry(tx, "IACB")
        deployments = await catalog.deployments(tx, "IACB")
        replaced = {one.id: one for one in await patches.several(tx, [n for p in standing for n in p.spec.supersedes])}
    for one, other in combinations(standing, 2):
        if one.spec.service == other.spec.service:
            assert not conflict.overlaps(other.spec, [one], {"2.1.0"}), (one, other)
    for one in standing:
        gone = [replaced[number] for number in one.spec.supersedes]
        if one.status is Status.APPLIED:
            assert not [old for old in gone if old.status in STANDING], one
        if one.approval_order is not None:
            assert not [old for old in gone if old.status in CANCELLABLE], one
    assert most_replicas(world, deployments, carried) <= MOST_REPLICAS


def most_replicas(world: World, deployments: Sequence[Deployment], carried: Sequence[Patch]) -> int:
    """Return the most that what is approved asks for together, now or later."""
    return max(totals.replicas for _, totals in quota.usage(deployments, carried, Window(world.clock.now(), None)))


async def judge(world: World, dice: Random) -> None:
    """Have the next patch judged, by a policy that changes its mind."""
    world.governance.obligations = dice.choice(([], [], [], [{"approvals": 1}], [{"approvals": 2}]))
    world.governance.denials = dice.choice(([], [], [], [], [], ["not today"]))
    await review_next(world.reviewer)


async def work(world: World, fleet: Fleet, dice: Random) -> None:
    """Follow what goes on, and have the instances report, while time passes."""
    world.clock.forward(seconds=dice.choice((1, 2, 10)))
    await step(world)
    failed = [row[0] for row in world.sql("SELECT id FROM patch WHERE status = 'ROLLING_OUT' ORDER BY id LIMIT 1")]
    failures = [{"patch_id": one, "stage": "check", "detail": "no"} for one in failed if dice.random() < 0.1]
    await fleet.report("a", "b")
    await fleet.report("c", failed=failures)


async def calm_down(world: World, fleet: Fleet) -> None:
    """Let everything come to rest: nobody does anything more, all is allowed, and every window ends."""
    world.governance.obligations, world.governance.denials = [], []
    for forward in (60, 1, 1, 1, 3600, 1, 1):
        world.clock.forward(seconds=forward)
        await review(world)
        await step(world)
        await fleet.report()


def steps_of(world: World) -> dict[int, list[tuple[str | None, str]]]:
    found: dict[int, list[tuple[str | None, str]]] = {}
    for number, before, after in world.sql("SELECT patch_id, from_status, to_status FROM patch_event ORDER BY id"):
        found.setdefault(number, []).append((before, after))
    return found


def check_record(world: World) -> None:
    """Hold all that was written down to the rules, and to each other."""
    told, stored = steps_of(world), dict(world.sql("SELECT id, status FROM patch"))
    assert told.keys() == stored.keys()
    audited = Counter(world.sql("SELECT subject, action FROM audit WHERE action LIKE 'patch.%%'"))
    for number, steps in told.items():
        assert steps[0] == (None, "QUEUED")
        assert [before for before, _ in steps[1:]] == [after for _, after in steps[:-1]], (number, steps)
        assert steps[-1][1] == stored[number]
        taken = [(str(before), after) for before, after in steps[1:] if before != after]
        assert all(Status(after) in TRANSITIONS[Status(before)] for before, after in taken), (number, steps)
        for status in ("QUEUED", *(after for _, after in taken)):
            assert audited[f"patch/{number}", f"patch.{status.lower()}"] == 1, (number, status)
    assert sum(audited[key] for key in audited if key[1].removeprefix("patch.").upper() in set(Status)) == sum(
        1 for steps in told.values() for before, after in steps if before != after
    )
    for table in ("stream_revision", "outbox"):
        rows = world.sql(f"SELECT service, array_agg(revision ORDER BY revision) FROM {table} GROUP BY 1")  # noqa: S608 - ours
        for _, numbers in rows:
            assert numbers == list(range(1, len(numbers) + 1))


def missing(world: World, people: Sequence[Person]) -> set[object]:
    """Which of the statuses and answers that there must be has not been seen yet."""
    statuses = {status for [status] in world.sql("SELECT DISTINCT to_status FROM patch_event")}
    answers = sum((person.answers for person in people), Counter())
    return {*(STATUSES - statuses), *(ANSWERS - answers.keys())}


@pytest.mark.parametrize("seed", [1])
def test_whatever_is_done_at_once_everything_stays_in_order(play: Play, seed: int) -> None:
    async def scene(world: World) -> None:
        await join(world, "approver", "ann", "bob")
        for service in OTHERS:
            new = NewDeployment("IACB", service, "2.1.0", "replicas: 3\n", "local")
            await register_deployment(world.db, new, world.clock.now())
        await scaled_to(world, 3)
        other = World(world.url, world.mgt_key)
        other.clock, other.governance = world.clock, world.governance
        other.reviewer = world.reviewer._replace(db=other.db)
        fleet, over = Fleet(world), asyncio.Event()
        await fleet.report()
        eyes = psycopg.connect(world.url, autocommit=True)
        people = [Person((world, other)[number % 2], eyes, 1000 * seed + number) for number in range(PEOPLE)]

        async def again(act: Callable[[], Awaitable[Any]], pause: float = 0) -> None:
            while not over.is_set():
                await act()
                await asyncio.sleep(pause)

        async def until_enough() -> None:
            await asyncio.sleep(SECONDS)
            latest = time.monotonic() + LONGEST_SECONDS
            while missing(world, people) and time.monotonic() < latest:  # noqa: ASYNC110 - the database is asked
                await asyncio.sleep(0.5)
            over.set()

        dice = Random(seed)  # noqa: S311 - to be repeatable
        async with asyncio.TaskGroup() as tasks:
            for person in people:
                tasks.create_task(again(person.act, 0.1))
            tasks.create_task(again(lambda: work(world, fleet, dice)))
            tasks.create_task(again(lambda: step(other), 0.1))
            for one in (world, other):
                tasks.create_task(again(partial(judge, one, dice), 0.02))
            tasks.create_task(again(lambda: look(other), 0.3))
            tasks.create_task(until_enough())
        await calm_down(world, fleet)
        eyes.close()
        await other.close()
        assert not [words for person in people for words in person.strange]
        check_record(world)
        [[deadlocks]] = world.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        assert deadlocks == 0
        # Something did happen, on every path.
        assert not missing(world, people)
        left = world.sql("SELECT * FROM patch WHERE status = ANY(%s) AND window_end IS NOT NULL", list(STANDING))
        assert not left

    play(scene)
