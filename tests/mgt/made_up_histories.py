"""Made-up histories of one service: what people, GOV, the fleet and time do, as dice fall."""

import json
from datetime import timedelta
from random import Random
from typing import Any, ClassVar, NamedTuple, Protocol

from hms_mgt.domain.access import Role
from hms_mgt.domain.quota import Quota
from hms_mgt.secret import digest
from hms_mgt.store.tokens import StoredToken
from hms_mgt.usecases.register import NewDeployment, register_deployment, register_tenant
from hms_mgt.usecases.tokens import register_token
from tests.mgt.conftest import World
from tests.mgt.fleet import SERVICE, Fleet
from tests.mgt.steps import review, step

FIRST, SECOND = "2.1.0", "2.2.0"


class Stage:
    """One tenant with its fleet and its patches, for one history."""

    made: ClassVar[int] = 0

    def __init__(self, world: World) -> None:
        Stage.made += 1
        self.world = world
        self.tenant = f"T{Stage.made}"
        self.fleet = Fleet(world, ("a", "b"), self.tenant)
        # By id, what was asked for.
        self.patches: dict[int, Any] = {}
        self.versions: set[str] = set()

    async def open(self) -> None:
        self.world.clock.forward(seconds=1)
        now = self.world.clock.now()
        await register_tenant(self.world.db, self.tenant, Quota(), now)
        for role in (Role.RELEASE_MANAGER, Role.APPROVER):
            name = f"{role}@{self.tenant}"
            await register_token(self.world.db, digest(name), StoredToken(name, role, self.tenant), now)
        await self.register(FIRST, {"a": 1, "b": {"x": 1, "y": [1]}})

    async def register(self, version: str, base: Any) -> None:
        new = NewDeployment(self.tenant, SERVICE, version, json.dumps(base), None)
        await register_deployment(self.world.db, new, self.world.clock.now())
        self.versions.add(version)

    async def post(self, path: str, body: Any, role: Role = Role.RELEASE_MANAGER) -> Any:
        """Ask for something. It may be refused, but not for an error of ours."""
        answer = await self.world.call("POST", path, f"{role}@{self.tenant}", json=body)
        assert answer.status_code < 500, answer.text
        if answer.status_code < 300 and "patch_id" in answer.json():
            self.patches[answer.json()["patch_id"]] = body

    def patch(self, number: int) -> int:
        """Name one of the patches, the newest by 0."""
        return sorted(self.patches)[-1 - number % len(self.patches)] if self.patches else 1

    async def close(self) -> None:
        """Leave nothing behind that the next history's steps would have to look after."""
        self.world.sql("UPDATE patch SET status = 'CANCELLED' WHERE tenant = %s RETURNING id", self.tenant)


class Act(Protocol):
    """One thing that happens."""

    async def play(self, stage: Stage) -> None: ...


class Submit(NamedTuple):
    changes: Any
    selector: str
    priority: int
    starts_in: int
    lasts: int | None
    supersedes: int | None

    async def play(self, stage: Stage) -> None:
        start = stage.world.clock.now() + timedelta(seconds=self.starts_in)
        window = {"start": start.isoformat()} | ({} if self.lasts is None else {"duration": f"{self.lasts}s"})
        body = {
            "tenant": stage.tenant,
            "service": SERVICE,
            "version_selector": self.selector,
            "changes": self.changes,
            # No two alike, so that they may meet.
            "priority": 50 * self.priority + len(stage.patches),
            "window": window,
        }
        if self.supersedes is not None and stage.patches:
            # The same knobs with the same priority: so the order of approval decides while both are in force.
            number = stage.patch(self.supersedes)
            other = stage.patches[number]
            changes = dict.fromkeys(other.get("changes", self.changes), len(stage.patches))
            body |= {"supersedes": number, "priority": other.get("priority", 0), "changes": changes}
        await stage.post("/api/patch", body)


class Review(NamedTuple):
    denials: tuple[str, ...] = ()
    obligations: tuple[Any, ...] = ()

    async def play(self, stage: Stage) -> None:
        stage.world.governance.denials = list(self.denials)
        stage.world.governance.obligations = list(self.obligations)
        await review(stage.world)


class Say(NamedTuple):
    verb: str
    number: int
    role: Role

    async def play(self, stage: Stage) -> None:
        words = {"comment": "so be it"} if self.verb in {"approve", "reject"} else {}
        await stage.post(f"/api/patch/{stage.patch(self.number)}/{self.verb}", words, self.role)


class ChangeWindow(NamedTuple):
    number: int
    lasts: int

    async def play(self, stage: Stage) -> None:
        window = {"duration": f"{self.lasts}s"}
        await stage.post(f"/api/patch/{stage.patch(self.number)}/window", {"window": window})


class GoBack(NamedTuple):
    revision: int

    async def play(self, stage: Stage) -> None:
        await stage.post(f"/api/stream/{stage.tenant}/{SERVICE}/rollback", {"revision": self.revision})


class Freeze(NamedTuple):
    starts_in: int
    lasts: int

    async def play(self, stage: Stage) -> None:
        start = (stage.world.clock.now() + timedelta(seconds=self.starts_in)).isoformat()
        body = {"tenant": stage.tenant, "start": start, "duration": f"{self.lasts}s", "reason": "quiet"}
        await stage.post("/api/freeze", body, Role.APPROVER)


class Lift(NamedTuple):
    async def play(self, stage: Stage) -> None:
        found = stage.world.sql("SELECT max(id) FROM freeze_window WHERE tenant = %s", stage.tenant)[0][0]
        await stage.post(f"/api/freeze/{found or 1}/lift", {"reason": "loud again"}, Role.APPROVER)


class Report(NamedTuple):
    failing: int | None

    async def play(self, stage: Stage) -> None:
        failure = {"patch_id": stage.patch(self.failing or 0), "stage": "checked", "detail": "no"}
        await stage.fleet.report(failed=[] if self.failing is None else [failure])
        await step(stage.world)


class Forward(NamedTuple):
    seconds: int
    # Whether the workers look at what it brings.
    watched: bool

    async def play(self, stage: Stage) -> None:
        stage.world.clock.forward(seconds=self.seconds)
        if self.watched:
            await step(stage.world)


class Register(NamedTuple):
    version: str
    base: Any

    async def play(self, stage: Stage) -> None:
        await stage.register(self.version, self.base)


# --- made-up histories --------------------------------------------------------------------------------------

NAMES = ("a", "b", "x", "y")
KNOBS = (*NAMES, "a.x", "b.x", "b.y", "b.x.y", "a.x.y")
SCALARS: tuple[Any, ...] = (0, 1, 1.5, True, "on", None, None, [], [1, 2])
SELECTORS = ("*", "*", ">=2.1", "2.1.0", "2.2.0", ">=2.1,<2.2")
# The more often, the likelier.
HAPPENING = {
    Submit: 7,
    Review: 5,
    Report: 5,
    Forward: 6,
    Say: 3,
    ChangeWindow: 1,
    GoBack: 1,
    Freeze: 2,
    Lift: 2,
    Register: 1,
}


def tree(dice: Random, depth: int = 2) -> Any:
    if depth and dice.random() < 0.4:
        return {name: tree(dice, depth - 1) for name in dice.sample(NAMES, dice.randint(0, 3))}
    return dice.choice(SCALARS)


def knobs(dice: Random) -> dict[str, Any]:
    """Make up some changes that do not say the same key twice."""
    first, *more = dice.sample(KNOBS, 3)
    return {first: tree(dice)} | {name: tree(dice) for name in more if name[0] != first[0]}


def submission(dice: Random, *, at_once: bool = False) -> Submit:
    return Submit(
        changes=knobs(dice),
        selector=dice.choice(SELECTORS),
        priority=dice.randint(0, 3),
        starts_in=0 if at_once else dice.choice((0, 0, 20, 40, 80)),
        lasts=dice.choice((None, 20, 40, 60, 100, 160)),
        supersedes=None if at_once or dice.random() < 0.7 else dice.randint(0, 3),
    )


def act(dice: Random) -> Act:
    kind = dice.choices(list(HAPPENING), list(HAPPENING.values()))[0]
    number, seconds = dice.randint(0, 4), dice.choice((20, 40, 60, 100))
    verb = dice.choice(("cancel", "rollback", "approve", "approve", "reject"))
    made: dict[type[Any], Act] = {
        Submit: submission(dice),
        Review: dice.choice((Review(), Review(), Review(("no",)), Review(obligations=({"approvals": 1},)))),
        Report: Report(number if dice.random() < 0.2 else None),
        Forward: Forward(dice.choice((7, 20, 31)), dice.random() < 0.7),
        Say: Say(verb, number, Role.APPROVER if verb in {"approve", "reject"} else Role.RELEASE_MANAGER),
        ChangeWindow: ChangeWindow(number, seconds),
        GoBack: GoBack(dice.randint(1, 4)),
        Freeze: Freeze(dice.choice((0, 20)), seconds),
        Lift: Lift(),
        Register: Register(dice.choice((FIRST, SECOND)), {**knobs(dice), "a.b": 1}),
    }
    return made[kind]


def made_up(dice: Random) -> list[Act]:
    begun: list[Act] = [
        submission(dice, at_once=True),
        submission(dice, at_once=True),
        Review(),
        Report(None),
        Forward(5, watched=True),
    ]
    return [*begun, *(act(dice) for _ in range(dice.randint(5, 20)))]
