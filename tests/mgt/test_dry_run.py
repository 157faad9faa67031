"""A dry run answers what a submission would meet and do, by the very same path, and stores nothing."""

from typing import Any

from hms_mgt.store.tables import metadata
from tests.mgt.conftest import PATCH, Play, World
from tests.mgt.fleet import Fleet
from tests.mgt.steps import review
from tests.mgt.test_supersede import in_force

DRY = "/api/patch?dry_run=true"


async def rehearse(world: World, **changed: Any) -> dict[str, Any]:
    answer = await world.call("POST", DRY, json={**PATCH, **changed})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def everything(world: World) -> list[Any]:
    """Return all rows there are."""
    tables = sorted(set(metadata.tables) - {"token"})  # whose last use is noted for every request
    return [world.sql(f"SELECT * FROM {table} ORDER BY 1, 2") for table in tables]  # noqa: S608 - our own names


def test_a_dry_run_shows_what_would_change_and_stores_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        await fleet.report("x", version="2.0.0")
        before = everything(world)
        seen = await rehearse(world, changes={"rate_limit_rps": 200, "search.size": 9})
        assert everything(world) == before
        assert seen["accepted"]
        assert seen["refusals"] == []
        assert seen["policy"] == {
            "verdict": "allow",
            "reasons": [],
            "obligations": [],
            "policy_revision": "sha256:0",
        }
        [version] = seen["versions"]
        assert version["before"] == {"rate_limit_rps": 50, "replicas": 3}
        assert version["after"] == {"rate_limit_rps": 200, "replicas": 3, "search": {"size": 9}}
        assert version["changes"] == [
            {"op": "replace", "path": "rate_limit_rps", "pointer": "/rate_limit_rps", "before": 50, "after": 200},
            {"op": "add", "path": "search.size", "pointer": "/search/size", "before": None, "after": 9},
        ]
        assert "-rate_limit_rps: 50\n+rate_limit_rps: 200\n" in version["diff"]
        reached = {one["instance"]: one for one in seen["instances"]}
        assert [name for name, one in reached.items() if one["hit"]] == ["a", "b", "c"]
        assert reached["a"]["changes"] == version["changes"]
        assert reached["x"]["reason"] == "version: 2.0.0 does not match >=2.1.0"
        assert reached["x"]["changes"] == []
        assert seen["blast_radius"] == 0.75

    play(scene)


def test_a_dry_run_meets_everything_a_submission_would_meet(play: Play) -> None:
    async def scene(world: World) -> None:
        taken = await world.submit(changes={"rate_limit_rps": 200, "replicas": 6})
        world.governance.denials = ["not today"]
        seen = await rehearse(world, changes={"rate_limit_rps": 300, "replicas": 13})
        assert not seen["accepted"]
        assert [one["code"] for one in seen["refusals"]] == ["patch_conflict", "quota_exceeded"]
        [conflict] = seen["conflicts"]
        assert conflict["patch_id"] == taken
        assert conflict["knobs"] == ["rate_limit_rps", "replicas"]
        assert conflict["overlap"] == {"start": "2026-11-23T12:00:00Z", "end": "2026-11-23T13:00:00Z"}
        assert [one["replicas"] for one in seen["quota"]["before"]] == [6]
        assert [one["replicas"] for one in seen["quota"]["after"]] == [13]
        assert seen["policy"]["verdict"] == "deny"
        assert seen["policy"]["reasons"] == ["not today"]
        real = await world.call("POST", "/api/patch", json={**PATCH, "changes": {"rate_limit_rps": 300}})
        assert real.status_code == 409

    play(scene)


def test_a_dry_run_says_that_gov_does_not_answer(play: Play) -> None:
    async def scene(world: World) -> None:
        world.governance.away = True
        seen = await rehearse(world)
        assert seen["policy"]["verdict"] == "unavailable"
        assert seen["accepted"]

    play(scene)


def test_a_dry_run_looks_at_the_moment_the_patch_would_begin(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit(changes={"a": 1}, window={"start": "2026-11-24T00:00Z", "duration": "1h"})
        await world.submit(changes={"b": 1}, window={"start": "now", "duration": "1h"})
        await review(world)
        [version] = (await rehearse(world, window={"start": "2026-11-24T00:10Z", "duration": "1h"}))["versions"]
        assert version["before"] == {"rate_limit_rps": 50, "replicas": 3, "a": 1}

    play(scene)


def test_a_dry_run_says_what_is_shadowed(play: Play) -> None:
    async def scene(world: World) -> None:
        await world.submit(changes={"rate_limit_rps": 300}, priority=10)
        await review(world)
        [version] = (await rehearse(world))["versions"]
        assert version["changes"] == []
        assert version["shadowed"] == ["rate_limit_rps"]

    play(scene)


def test_a_dry_run_leaves_out_what_the_patch_supersedes(play: Play) -> None:
    async def scene(world: World) -> None:
        old = await world.submit(changes={"rate_limit_rps": 300, "a": 1})
        await review(world)
        [version] = (await rehearse(world, supersedes=old))["versions"]
        assert version["after"] == {"rate_limit_rps": 200, "replicas": 3}

    play(scene)


def test_a_dry_run_is_for_who_may_submit_and_checks_the_document(play: Play) -> None:
    async def scene(world: World) -> None:
        assert (await world.call("POST", DRY, "viewer@IACB", json=PATCH)).status_code == 403
        assert (await world.call("POST", DRY, "release_manager@VA", json=PATCH)).status_code == 403
        wrong = await world.call("POST", DRY, json={**PATCH, "changes": {"rate_limit_rps": 2000}})
        assert wrong.status_code == 422
        assert world.sql("SELECT count(*) FROM patch") == [(0,)]

    play(scene)


def test_a_dry_run_shows_what_ends_where_the_patch_itself_is_not_for(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        await fleet.report()
        await fleet.report("x", version="2.0.0")
        old = await world.submit(version_selector="*", changes={"rate_limit_rps": 300})
        await review(world)
        seen = await rehearse(world, supersedes=old)
        [ending, version] = seen["versions"]
        assert (ending["version"], ending["before"], ending["after"]) == ("2.0.0", {"rate_limit_rps": 300}, {})
        assert version["after"]["rate_limit_rps"] == 200
        [missed] = [one for one in seen["instances"] if not one["hit"]]
        assert missed["changes"] == ending["changes"] != []

    play(scene)


def test_a_dry_run_counts_on_what_is_planned(play: Play) -> None:
    async def scene(world: World) -> None:
        fleet = Fleet(world)
        old = await in_force(world, fleet, changes={"a": 1}, window={"start": "now", "duration": "1d"})
        soon = {"start": "2026-11-23T13:00Z", "duration": "5h"}
        await world.submit(changes={"b": 1}, window=soon, supersedes=old)
        await world.submit(changes={"c": 1}, window=soon)
        await review(world)
        freeze = {"tenant": "IACB", "start": "2026-11-23T13:00Z", "duration": "1h", "reason": "holidays"}
        assert (await world.call("POST", "/api/freeze", "approver@IACB", json=freeze)).status_code == 201
        base = {"rate_limit_rps": 50, "replicas": 3}
        for start, held in (("12:59", {"a": 1}), ("13:30", {"a": 1}), ("14:00", {"b": 1, "c": 1})):
            [version] = (await rehearse(world, window={"start": f"2026-11-23T{start}Z", "duration": "1m"}))["versions"]
            assert version["before"] == {**base, **held}

    play(scene)


def test_a_dry_run_foretells_what_the_review_would_say(play: Play) -> None:
    async def scene(world: World) -> None:
        seen = await rehearse(world, changes={"cpu": "2"})
        assert seen["accepted"]
        assert seen["rejection"] == "no orchestrator carries out cpu for ARTIST_REGISTRY_API"
        assert (await rehearse(world))["rejection"] is None
        world.governance.obligations = [{"page": "ann"}]
        assert "cannot be carried out" in (await rehearse(world))["rejection"]
        world.governance.denials = ["not today"]
        assert (await rehearse(world))["rejection"] == "GOV denies: not today"
        world.governance.away = True
        assert (await rehearse(world))["rejection"] is None

    play(scene)


def test_a_dry_run_that_is_misspelt_is_no_submission(play: Play) -> None:
    async def scene(world: World) -> None:
        for query in ("dryrun=true", "dry_run=perhaps", "dry-run=true"):
            answer = await world.call("POST", f"/api/patch?{query}", json=PATCH)
            assert answer.status_code == 422, query
        assert world.sql("SELECT count(*) FROM patch") == [(0,)]

    play(scene)
