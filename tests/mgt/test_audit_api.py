"""`GET /api/audit`: who may read what of it, how it is narrowed, paged and exported."""

import csv
import io
import json
from datetime import timedelta
from typing import Any

import pytest

from hms_mgt.domain import chain
from hms_mgt.domain.access import Role
from hms_mgt.domain.chain_walk import link_of
from hms_mgt.domain.verification import Evidence, verify
from hms_mgt.secret import digest
from hms_mgt.store import audit
from hms_mgt.store.tokens import StoredToken
from hms_mgt.store.trail import Act
from hms_mgt.usecases.tokens import register_token
from tests.mgt.conftest import Play, World
from tests.mgt.history import act

PLATFORM = "auditor of the platform"


async def prepare(world: World) -> None:
    """A platform auditor, and some acts of each kind."""
    now = world.clock.now()
    await register_token(world.db, digest(PLATFORM), StoredToken("platform-auditor", Role.AUDITOR, None), now)
    for minute in range(3):
        at = now + timedelta(minutes=minute)
        await act(
            world.db,
            Act("IACB", "ada", "patch.applied", "patch/1", request_id=f"r-{minute}", after={"minute": minute}),
            Act("VA", "eve", "patch.halted", "patch/12"),
            Act(None, "ops", "platform_cap.changed", "platform/cap"),
            at=at,
        )


async def listed(world: World, who: str = "auditor@IACB", **query: Any) -> list[dict[str, Any]]:
    answer = await world.call("GET", "/api/audit", who, params=query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


@pytest.mark.parametrize(("role", "status"), [("auditor", 200), ("approver", 200), ("platform_admin", 200)])
def test_who_may_read_the_audit(play: Play, role: str, status: int) -> None:
    async def scene(world: World) -> None:
        for path in ("/api/audit", "/api/audit?format=csv", "/api/audit?format=jsonl", "/api/audit/head"):
            assert (await world.call("GET", path, f"{role}@IACB")).status_code == status
            assert (await world.call("GET", path, "viewer@IACB")).status_code == 403
            assert (await world.call("GET", path, "release_manager@IACB")).status_code == 403
            assert (await world.client.get(path)).status_code == 401
        assert len(await listed(world, action="denied")) == 8

    play(scene)


def test_an_auditor_sees_the_own_tenant_only_and_the_platforms_sees_all(play: Play) -> None:
    async def scene(world: World) -> None:
        await prepare(world)
        for tenant, other in (("IACB", "VA"), ("VA", "IACB")):
            who = f"auditor@{tenant}"
            assert {row["tenant"] for row in await listed(world, who)} == {tenant}
            for query in ({"tenant": other}, {"tenant": "*"}, {"subject": "platform/*"}):
                assert await listed(world, who, **query) == []
            for form in ("csv", "jsonl"):
                text = (await world.call("GET", f"/api/audit?format={form}", who)).text
                assert other not in text
                assert "platform_cap" not in text
            heads = (await world.call("GET", "/api/audit/head", who)).json()["items"]
            assert [head["chain"] for head in heads] == [tenant]
        assert {row["tenant"] for row in await listed(world, PLATFORM)} == {"IACB", "VA", None}
        assert {row["tenant"] for row in await listed(world, PLATFORM, tenant="*")} == {None}
        heads = (await world.call("GET", "/api/audit/head", PLATFORM)).json()["items"]
        assert [head["chain"] for head in heads] == ["*", "IACB", "VA"]

    play(scene)


def test_rows_are_narrowed_by_each_filter(play: Play) -> None:
    async def scene(world: World) -> None:
        await prepare(world)
        now = world.clock.now()
        later = (now + timedelta(minutes=1)).isoformat()
        last = (now + timedelta(minutes=2)).isoformat()
        cases: list[tuple[dict[str, str], int]] = [
            ({"actor": "ada"}, 3),
            ({"actor": "ad"}, 0),
            ({"action": "patch.applied"}, 3),
            ({"action": "patch.*"}, 3),
            ({"action": "patch"}, 0),
            ({"action": "*"}, 3 + 1 + 1 + len(Role)),
            ({"subject": "patch/1"}, 3),
            ({"subject": "patch/%*"}, 0),
            ({"since": later}, 2),
            ({"since": later, "until": last}, 1),
            ({"since": later.replace("+", " ")}, 2),
            ({"request_id": "r-1"}, 1),
            ({"request_id": "r-1", "actor": "eve"}, 0),
            ({"tenant": "IACB", "actor": "ada"}, 3),
        ]
        for query, count in cases:
            assert len(await listed(world, **query)) == count, query
        assert len(await listed(world, PLATFORM, subject="patch/1*")) == 6

    play(scene)


@pytest.mark.parametrize(
    "query",
    ["since=never", "until=2026-11-20", "cursor=x", "tenant=a:b", "limit=0", "format=xml", "actor=%00", "subject=%0A"],
)
def test_what_cannot_be_asked_is_422(play: Play, query: str) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("GET", f"/api/audit?{query}", "auditor@IACB")
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == f"/query/{query.split('=', maxsplit=1)[0]}"

    play(scene)


def test_pages_are_newest_first_and_miss_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        await prepare(world)
        whole, seen, path = await listed(world), [], "/api/audit?limit=2&action=*"
        while path:
            answer = await world.call("GET", path, "auditor@IACB")
            seen += answer.json()["items"]
            assert len(answer.json()["items"]) <= 2
            link = answer.headers.get("Link", "")
            path = link.partition(">")[0].lstrip("<")
        assert seen == whole
        assert [row["id"] for row in whole] == sorted((row["id"] for row in whole), reverse=True)
        assert [row["seq"] for row in whole] == list(range(len(whole), 0, -1))

    play(scene)


def test_a_row_shows_who_what_when_from_where_and_its_place(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        (row,) = await listed(world, action="patch.queued")
        shown = {name: row[name] for name in ("tenant", "actor", "role", "source", "subject", "chain", "before")}
        assert shown == {
            "tenant": "IACB",
            "actor": "release_manager@IACB",
            "role": "release_manager",
            "source": "127.0.0.1",
            "subject": f"patch/{patch_id}",
            "chain": "IACB",
            "before": None,
        }
        assert row["at"] == "2026-11-23T12:00:00.000000Z"
        assert row["request_id"]
        assert (row["after"]["changes"], len(row["hash"])) == ({"rate_limit_rps": 200}, 64)

    play(scene)


def test_exported_rows_verify_against_the_signed_ends(play: Play) -> None:
    async def scene(world: World) -> None:
        await prepare(world)
        await world.submit()
        for who, chains in (("auditor@IACB", ["IACB"]), (PLATFORM, ["*", "IACB", "VA"])):
            answer = await world.call("GET", "/api/audit?format=jsonl", who)
            assert answer.headers["content-type"] == "application/x-ndjson"
            assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
            rows = [json.loads(line) for line in answer.text.splitlines()]
            assert [row["id"] for row in rows] == sorted(row["id"] for row in rows), "oldest first"
            heads = (await world.call("GET", "/api/audit/head", who)).json()["items"]
            assert verify(map(link_of, rows), Evidence(world.trust.mgt.keys, heads, chains=chains)) == []
            rows[3]["actor"] = "eve"
            assert verify(map(link_of, rows), Evidence(world.trust.mgt.keys, heads, chains=chains)) != []

    play(scene)


def test_an_export_holds_more_than_one_batch(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hms_mgt.api.audit._BATCH", 3)

    async def scene(world: World) -> None:
        await prepare(world)
        text = (await world.call("GET", "/api/audit?format=jsonl", PLATFORM)).text
        assert len(text.splitlines()) == world.sql("SELECT count(*) FROM audit")[0][0]
        narrowed = (await world.call("GET", "/api/audit?format=jsonl&actor=ada", PLATFORM)).text
        assert [json.loads(line)["after"] for line in narrowed.splitlines()] == [{"minute": n} for n in range(3)]
        assert (await world.call("GET", "/api/audit?format=jsonl&actor=nobody", PLATFORM)).text == ""

    play(scene)


def test_an_export_ends_where_the_audit_ended_when_it_began(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a row of one chain an older row of another may come late: what is shown of no chain may have a gap."""
    monkeypatch.setattr("hms_mgt.api.audit._BATCH", 3)

    async def scene(world: World) -> None:
        await prepare(world)
        before = world.sql("SELECT id FROM audit ORDER BY id")
        read, more = audit.batch, iter(range(5))

        async def read_while_others_write(*asked: Any) -> list[dict[str, Any]]:
            rows = await read(*asked)
            if next(more, None) is not None:
                await act(world.db, Act("IACB", "ada", "patch.applied", "patch/2"), at=world.clock.now())
            return rows

        monkeypatch.setattr(audit, "batch", read_while_others_write)
        answer = await world.call("GET", "/api/audit?format=jsonl", PLATFORM)
        assert [(json.loads(line)["id"],) for line in answer.text.splitlines()] == before

    play(scene)


def test_csv_is_what_rfc_4180_says_and_no_cell_is_a_formula(play: Play) -> None:
    async def scene(world: World) -> None:
        hostile = ["=1+1", "+1", "-1", "@x", 'a "b", c\nd', "plain"]
        await act(world.db, *(Act("IACB", one, "x", one, after={"a": one}) for one in hostile))
        answer = await world.call("GET", "/api/audit?format=csv&action=x", "auditor@IACB")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert "\r\n" in answer.text
        header, *rows = csv.reader(io.StringIO(answer.text, newline=""), strict=True)
        assert {*chain.COLUMNS, "id", "hash"} <= set(header)
        shown = [dict(zip(header, row, strict=True)) for row in rows]
        assert [row["actor"] for row in shown] == ["'=1+1", "'+1", "'-1", "'@x", hostile[4], "plain"]
        assert [json.loads(row["after"])["a"] for row in shown] == hostile
        assert not any(cell[:1] in set("=+-@") for row in rows for cell in row if cell)
        assert (shown[0]["before"], shown[0]["detail"]) == ("", "{}")

    play(scene)


def test_what_a_superuser_left_there_is_shown_as_it_stands(play: Play) -> None:
    async def scene(world: World) -> None:
        await act(world.db, Act("IACB", "ada", "x", "y"))
        tamper = "UPDATE audit SET at = 'infinity', after = '{\"a\":1,\"a\":2}' WHERE action = 'x' RETURNING id"
        world.sql(tamper)
        (row,) = await listed(world, action="x")
        assert (row["at"], row["after"]) == ("infinity", '{"a":1,"a":2}')
        for form in ("csv", "jsonl"):
            assert (await world.call("GET", f"/api/audit?format={form}", "auditor@IACB")).status_code == 200

    play(scene)
