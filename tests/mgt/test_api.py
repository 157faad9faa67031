"""The API as its callers meet it: every rule with its pointer, every denial, nothing stored on the way."""

import asyncio
import json
from typing import Any

import pytest
import yaml
from sqlalchemy.exc import SQLAlchemyError
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from hms_mgt.domain.access import Actor, Role
from hms_mgt.errors import Forbidden, Unavailable
from hms_mgt.usecases import end
from hms_mgt.usecases.submit import Submission, submit
from tests.mgt.conftest import PATCH, Play, World

HUGE = "x" * 5000


def changed(**fields: Any) -> dict[str, Any]:
    return {**PATCH, **fields}


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in PATCH.items() if name != field}


RULES: list[tuple[Any, str, str]] = [
    (changed(changes={"rate_limit_rps": 1001}), "/changes/rate_limit_rps", "Exceeds platform cap"),
    (changed(changes={"rate_limit_rps": 0}), "/changes/rate_limit_rps", "at least 1"),
    (changed(changes={"rate_limit_rps": "200"}), "/changes/rate_limit_rps", "whole number"),
    (changed(changes={"rate_limit_rps": True}), "/changes/rate_limit_rps", "whole number"),
    (changed(changes={"replicas": 2.5}), "/changes/replicas", "whole number"),
    (changed(changes={"replicas": None}), "/changes/replicas", "whole number"),
    (changed(changes={"cpu": "lots"}), "/changes/cpu", "quantity"),
    (changed(changes={}), "/changes", "at least one knob"),
    (changed(changes=[1]), "/changes", "mapping"),
    (changed(changes={"a.b": 1, "a": {"b": 2}}), "/changes", "a.b"),
    (changed(changes={"a": HUGE}), "/changes/a", "longer than"),
    (changed(changes={"a": {"b": 10**17}}), "/changes/a/b", "too large"),
    (changed(changes={"a b": 1}), "/changes/a b", "named with"),
    (changed(changes={"a": "\x07"}), "/changes/a", "control character"),
    (changed(changes={"x": [{"y": {"z": [[[[[[1]]]]]]}}]}), "/changes/x/0/y/z/0/0/0/0", "deeper"),
    (changed(changes={f"k{i}": i for i in range(201)}), "/changes", "at most 200"),
    (changed(window={"start": "2026-12-05T00:00Z", "end": "2026-11-30T00:00Z"}), "/window/end", "Bad time window"),
    (changed(window={"start": "2026-12-05T00:00Z", "end": "2026-12-05T00:00Z"}), "/window/end", "Bad time window"),
    (changed(window={"start": "2024-11-20T00:00Z", "end": "2024-12-05T00:00Z"}), "/window/end", "already over"),
    (changed(window={"start": "now", "duration": "two weeks"}), "/window/duration", "14d"),
    (changed(window={"start": "now", "duration": "0s"}), "/window/duration", "longer than nothing"),
    (changed(window={"start": "now", "duration": "1d", "end": "2027-01-01T00:00Z"}), "/window/duration", "not both"),
    (changed(window={"start": "2026-11-20T00:00"}), "/window/start", "timezone"),
    (changed(window={"start": "noon"}), "/window/start", "instant"),
    (changed(window={"from": "now"}), "/window/from", "unknown field"),
    (changed(window={"a/b~": "now"}), "/window/a~1b~0", "unknown field"),
    (changed(window={"start": "2026-11-20 00:00Z"}), "/window/start", "instant"),
    (changed(window={"start": "2026-11-20\x0000:00Z"}), "/window/start", "instant"),
    (changed(window={"start": "now", "end": "2026-12-20\x0000:00Z"}), "/window/end", "instant"),
    (changed(window={"start": "now", "duration": "1\x00d"}), "/window/duration", "14d"),
    (changed(window="always"), "/window", "mapping"),
    (changed(service="ARTIST REGISTRY"), "/service", "letters"),
    (changed(service="NO_SUCH_API"), "/service", "unknown service"),
    (changed(tenant="IACB::*"), "/tenant", "letters"),
    (changed(tenant="t*"), "/tenant", "letters"),
    (changed(tenant="NOBODY"), "/tenant", "unknown tenant"),
    (changed(version_selector=">=two"), "/version_selector", ""),
    (changed(version_selector="latest"), "/version_selector", "latest"),
    (changed(version_selector=21), "/version_selector", "text"),
    (changed(priority=-1), "/priority", "whole number"),
    (changed(priority=True), "/priority", "whole number"),
    (changed(reason="two\nlines"), "/reason", "one line"),
    (changed(reason="\x00"), "/reason", "one line"),
    (changed(service="A\x00"), "/service", "letters"),
    (changed(version_selector=">=2.1.0\x00"), "/version_selector", ""),
    (changed(changes={"a": "\x00"}), "/changes/a", "control character"),
    (changed(changes={"\x00": 1}), "/changes/\x00", "named with"),
    (changed(colour="red"), "/colour", "unknown field"),
    ({**PATCH, "col/our~": "red"}, "/col~1our~0", "unknown field"),
    (without("service"), "/service", "required"),
    (without("changes"), "/changes", "required"),
    (without("tenant"), "/tenant", "required"),
    (without("version_selector"), "/version_selector", "required"),
    ([1, 2], "", "mapping"),
    ("text", "", "mapping"),
]


@pytest.mark.parametrize(("document", "pointer", "words"), RULES, ids=range(len(RULES)))
def test_each_rule_answers_422_with_the_pointer_and_stores_nothing(
    play: Play, document: Any, pointer: str, words: str
) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("POST", "/api/patch", json=document)
        problem = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert any(e["pointer"] == pointer and words in e["detail"] for e in problem["errors"]), problem
        assert problem["request_id"] == answer.headers["x-request-id"]
        stored = "SELECT count(*) FROM patch", "SELECT count(*) FROM patch_event", "SELECT count(*) FROM outbox"
        assert all(world.sql(count) == [(0,)] for count in stored)

    play(scene)


def test_one_name_in_two_tenants_has_keys_of_its_own_in_each(play: Play) -> None:
    async def scene(world: World) -> None:
        keyed: dict[str, Any] = {"headers": {"Idempotency-Key": "one"}}
        first = await world.call("POST", "/api/patch", json=PATCH, **keyed)
        world.sql("UPDATE patch SET author = 'release_manager@VA' RETURNING 1")
        answer = await world.call("POST", "/api/patch", "release_manager@VA", json=changed(tenant="VA"), **keyed)
        assert (first.status_code, answer.status_code) == (202, 202)

    play(scene)


def test_all_problems_come_at_once(play: Play) -> None:
    async def scene(world: World) -> None:
        document = changed(changes={"rate_limit_rps": 5000, "replicas": 0}, priority=9999, service="")
        answer = await world.call("POST", "/api/patch", json=document)
        pointers = {one["pointer"] for one in answer.json()["errors"]}
        assert pointers == {"/changes/rate_limit_rps", "/changes/replicas", "/priority", "/service"}

    play(scene)


BODIES: list[tuple[str, bytes, int, str]] = [
    ("application/yaml", b"service: A\nservice: B\n", 422, "/service"),
    ("application/yaml", b"changes:\n  a: 1\n  a: 2\n", 422, "/changes/a"),
    ("application/yaml", b"a: &x 1\nb: *x\n", 422, ""),
    ("application/yaml", b"a: !!python/object:os.system 1\n", 422, ""),
    ("application/yaml", b"{" * 4000, 422, ""),
    ("application/yaml", b"a: [\n", 422, ""),
    ("application/yaml", b"\xff\xfe", 422, ""),
    ("application/json", b'{"service": "A", "service": "B"}', 422, "/service"),
    ("application/json", b'{"changes": {"a": {"b": 1, "b": 2}}}', 422, "/changes/a/b"),
    ("application/json", rb'{"\ud800": 1}', 422, r"/\ud800"),
    ("application/json", rb'{"\ud800": 1, "\ud800": 2}', 422, r"/\ud800"),
    ("application/json", rb'{"changes": {"\ud800": 1}}', 422, r"/changes/\ud800"),
    ("application/json", rb'{"window": {"\ud800": 1}}', 422, r"/window/\ud800"),
    ("application/json", rb'{"window": {"start": "2026-11-20\ud80000:00Z"}}', 422, "/window/start"),
    ("application/json", rb'{"reason": "\ud800"}', 422, "/reason"),
    ("application/json", rb'{"changes": {"a": ["\ud800"]}}', 422, "/changes/a/0"),
    ("application/json", rb'{"version_selector": "\ud800"}', 422, "/version_selector"),
    ("application/json", b'{"changes": NaN}', 422, ""),
    ("application/json", b"[" * 50_000, 422, ""),
    ("application/json", b"{", 422, ""),
    ("application/json", b" " * 70_000 + b"{}", 422, ""),
    ("application/json", b" " * 1_100_000, 413, ""),
    ("text/html", b"<p>", 415, ""),
]


@pytest.mark.parametrize(("media", "body", "status", "pointer"), BODIES, ids=range(len(BODIES)))
def test_hostile_bodies_are_refused(play: Play, media: str, body: bytes, status: int, pointer: str) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("POST", "/api/patch", content=body, headers={"Content-Type": media})
        assert answer.status_code == status, answer.text
        if status == 422:
            # Deep inside a broken document the pointer may be more exact than promised here.
            assert any(one["pointer"].startswith(pointer) for one in answer.json()["errors"]), answer.text
        assert world.sql("SELECT count(*) FROM patch") == [(0,)]

    play(scene)


def test_json_and_yaml_bodies_are_the_same_request(play: Play) -> None:
    async def scene(world: World) -> None:
        text = yaml.safe_dump(dict(PATCH))
        headers = {"Content-Type": "application/yaml"}
        answer = await world.call("POST", "/api/patch", content=text, headers=headers)
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/api/patch/{answer.json()['patch_id']}"
        assert answer.json()["status"] == "QUEUED"
        one = await world.shown(answer.json()["patch_id"])
        await world.call("POST", f"/api/patch/{one['patch_id']}/cancel")
        two = await world.shown(await world.submit())
        for name in ("changes", "window", "service", "tenant", "version_selector", "priority"):
            assert one[name] == two[name]

    play(scene)


@pytest.mark.parametrize("role", ["viewer", "approver", "auditor", "platform_admin"])
def test_only_a_release_manager_posts_and_each_denial_is_audited(play: Play, role: str) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("POST", "/api/patch", f"{role}@IACB", json=dict(PATCH))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert world.sql("SELECT count(*) FROM patch") == [(0,)]
        assert world.sql("SELECT actor, action, subject, tenant FROM audit WHERE action = 'denied'") == [
            (f"{role}@IACB", "denied", "POST /api/patch", "IACB")
        ]

    play(scene)


def test_the_use_case_itself_asks_for_the_role(play: Play) -> None:
    async def scene(world: World) -> None:
        asked = Submission(dict(PATCH), "digest", None)
        for role in set(Role) - {Role.RELEASE_MANAGER}:
            with pytest.raises(Forbidden):
                await submit(world.db, world.signer, Actor("x", role, None), asked, world.clock.now())
        assert world.sql("SELECT count(*) FROM patch") == [(0,)]

    play(scene)


def test_the_use_cases_that_end_a_patch_ask_for_the_role_themselves(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        asked = end.Request(Actor("x", Role.VIEWER, None), patch_id, "")
        for use_case in (end.cancel, end.roll_back):
            with pytest.raises(Forbidden):
                await use_case(world.db, world.signer, asked, world.clock.now())
        assert (await world.shown(patch_id))["status"] == "QUEUED"

    play(scene)


def test_a_viewer_may_end_nothing(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        for verb in ("cancel", "rollback"):
            answer = await world.call("POST", f"/api/patch/{patch_id}/{verb}", "viewer@IACB")
            assert answer.status_code == 403
        assert (await world.shown(patch_id))["status"] == "QUEUED"

    play(scene)


def test_a_viewer_learns_nothing_from_a_bad_body(play: Play) -> None:
    async def scene(world: World) -> None:
        answer = await world.call("POST", "/api/patch", "viewer@IACB", content=b"{")
        assert answer.status_code == 403

    play(scene)


ENDS: list[tuple[bytes, int, str]] = [
    (b"{", 422, ""),
    (b"[" * 50_000, 422, ""),
    (b" " * 1_100_000, 413, ""),
    (b'{"reason": "a", "reason": "b"}', 422, "/reason"),
    (rb'{"reason": "\u0000"}', 422, "/reason"),
    (rb'{"reason": "\ud800"}', 422, "/reason"),
    (b'{"reason": "two\\nlines"}', 422, "/reason"),
    (b'{"reason": 1}', 422, "/reason"),
    (b'{"because": "a"}', 422, "/because"),
    (b"[1]", 422, ""),
]


@pytest.mark.parametrize("verb", ["cancel", "rollback"])
def test_an_end_reads_its_body_only_for_those_who_may_and_by_the_same_rules(play: Play, verb: str) -> None:
    async def scene(world: World) -> None:
        path = f"/api/patch/{await world.submit()}/{verb}"
        for raw, status, pointer in ENDS:
            answer = await world.call("POST", path, content=raw)
            assert answer.status_code == status, (raw[:40], answer.text)
            assert pointer in {one["pointer"] for one in answer.json()["errors"]} or status == 413
            assert (await world.call("POST", path, "viewer@IACB", content=raw)).status_code == 403
            assert (await world.client.post(path, content=raw)).status_code == 401

    play(scene)


@pytest.mark.parametrize(
    ("media", "raw", "reason"),
    [
        ("text/html", b"", ""),
        ("application/json", b"null", ""),
        ("application/json", b"{}", ""),
        ("application/json", '{"reason": "Feierabend für heute"}'.encode(), "Feierabend für heute"),
        ("application/yaml", b"reason: the market is over", "the market is over"),
    ],
)
def test_an_end_may_say_why(play: Play, media: str, raw: bytes, reason: str) -> None:
    async def scene(world: World) -> None:
        path = f"/api/patch/{await world.submit()}"
        answer = await world.call("POST", f"{path}/cancel", content=raw, headers={"Content-Type": media})
        assert (answer.status_code, answer.json()["status"]) == (202, "CANCELLED"), answer.text
        assert answer.json()["status_reason"] == reason

    play(scene)


def test_ids_in_queries_and_paths_are_ids(play: Play) -> None:
    async def scene(world: World) -> None:
        for path, pointer in (
            ("/api/patch?tenant=%00", "/query/tenant"),
            ("/api/patch?service=t*", "/query/service"),
            ("/api/instance?tenant=%00", "/query/tenant"),
            ("/api/instance?service=%00", "/query/service"),
            ("/api/stream/%00/x/snapshot", "/path/tenant"),
            ("/api/stream/IACB/x%00/snapshot", "/path/service"),
            ("/api/patch?a/b~=1", "/query/a~1b~0"),
        ):
            answer = await world.call("GET", path)
            assert answer.status_code == 422, path
            assert [one["pointer"] for one in answer.json()["errors"]] == [pointer]

    play(scene)


def test_a_path_that_is_not_there_is_a_problem_and_sends_nobody_anywhere(play: Play) -> None:
    async def scene(world: World) -> None:
        for path in ("/api/patch/", "/api/patch/1/", "/nowhere"):
            answer = await world.call("GET", path, headers={"Host": "elsewhere.example"})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
            assert "location" not in answer.headers

    play(scene)


def test_an_idempotency_key_is_printable_ascii(play: Play) -> None:
    async def scene(world: World) -> None:
        for key in (b"a\0b", b"\xff", b"k" * 256):
            answer = await world.call("POST", "/api/patch", json=dict(PATCH), headers={"Idempotency-Key": key})
            assert answer.status_code == 422, key
            assert answer.json()["errors"][0]["pointer"] == "/header/idempotency-key"

    play(scene)


def test_reaching_for_another_tenants_patch_is_audited_where_the_actor_belongs(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        await world.call("GET", f"/api/patch/{patch_id}", "release_manager@VA")
        for verb in ("cancel", "rollback"):
            await world.call("POST", f"/api/patch/{patch_id}/{verb}", "release_manager@VA")
        rows = world.sql("SELECT tenant, actor, subject FROM audit WHERE action = 'denied' ORDER BY id")
        assert rows == [
            ("VA", "release_manager@VA", f"POST /api/patch/{patch_id}/{verb}") for verb in ("cancel", "rollback")
        ]

    play(scene)


def test_a_caller_without_a_good_token_leaves_a_warning_and_no_row(play: Play) -> None:
    async def scene(world: World) -> None:
        before = world.sql("SELECT count(*) FROM audit")
        with capture_logs(processors=[merge_contextvars]) as logs:
            answer = await world.call("POST", "/api/patch", "hms_secret", json=dict(PATCH))
        assert world.sql("SELECT count(*) FROM audit") == before
        (line,) = logs
        assert (line["log_level"], line["method"], line["path"]) == ("warning", "POST", "/api/patch")
        assert line["request_id"] == answer.headers["x-request-id"]
        assert "hms_secret" not in str(line)

    play(scene)


@pytest.mark.parametrize("failure", [Unavailable("the database does not answer"), SQLAlchemyError("disk full")])
def test_a_denial_that_cannot_be_audited_is_503(
    play: Play, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    async def scene(world: World) -> None:
        async def broken(*_: object) -> None:
            raise failure

        monkeypatch.setattr("hms_mgt.store.trail.audit_act", broken)
        answer = await world.call("POST", "/api/patch", "viewer@IACB", json=dict(PATCH))
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")

    play(scene)


def test_no_token_and_unknown_tokens_are_401(play: Play) -> None:
    async def scene(world: World) -> None:
        bare = await world.client.post("/api/patch", json=dict(PATCH))
        wrong = await world.call("GET", "/api/patch", "hms_made_up")
        for answer in (bare, wrong):
            assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        world.sql("UPDATE token SET revoked_at = now() WHERE name = 'viewer@IACB' RETURNING name")
        assert (await world.call("GET", "/api/patch", "viewer@IACB")).status_code == 401

    play(scene)


def test_another_tenants_patch_is_404_and_its_lists_are_empty(play: Play) -> None:
    async def scene(world: World) -> None:
        patch_id = await world.submit()
        for who in ("release_manager@VA", "platform_admin@VA", "auditor@VA"):
            shown = await world.call("GET", f"/api/patch/{patch_id}", who)
            nothing = await world.call("GET", f"/api/patch/{patch_id + 1}", who)
            assert shown.status_code == 404
            assert shown.json()["detail"].replace(str(patch_id), "N") == nothing.json()["detail"].replace(
                str(patch_id + 1), "N"
            )
            assert (await world.call("GET", "/api/patch?tenant=IACB", who)).json()["items"] == []
        for verb in ("cancel", "rollback"):
            assert (await world.call("POST", f"/api/patch/{patch_id}/{verb}", "release_manager@VA")).status_code == 404
        path = "/api/stream/IACB/ARTIST_REGISTRY_API/snapshot"
        assert (await world.call("GET", path, "viewer@VA")).status_code == 404
        posted = await world.call("POST", "/api/patch", "release_manager@VA", json=dict(PATCH))
        assert (posted.status_code, posted.json()["errors"][0]["pointer"]) == (403, "/tenant")

    play(scene)


def test_a_retry_with_the_same_key_has_one_effect(play: Play) -> None:
    async def scene(world: World) -> None:
        headers = {"Idempotency-Key": "deploy-42"}
        answers = await asyncio.gather(
            *(world.call("POST", "/api/patch", json=dict(PATCH), headers=headers) for _ in range(8))
        )
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.text for answer in answers}) == 1
        assert world.sql("SELECT count(*) FROM patch") == [(1,)]
        world.clock.forward(hours=2)
        later = await world.call("POST", "/api/patch", json=dict(PATCH), headers={"Idempotency-Key": '"deploy-42"'})
        assert later.text == answers[0].text
        other = await world.call("POST", "/api/patch", json=changed(priority=7), headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")

    play(scene)


def test_listing_pages_by_cursor_and_filters(play: Play) -> None:
    async def scene(world: World) -> None:
        made = [await world.submit(priority=number) for number in range(5)]
        await world.call("POST", f"/api/patch/{made[0]}/cancel")
        seen: list[int] = []
        path: str | None = "/api/patch?limit=2"
        while path is not None:
            page = await world.call("GET", path)
            seen += [one["patch_id"] for one in page.json()["items"]]
            link = page.headers.get("link")
            assert (link is None) == (page.json()["next_cursor"] is None)
            path = None if link is None else link.split(">")[0].lstrip("<")
        assert seen == made[::-1]
        only = (await world.call("GET", "/api/patch?status=CANCELLED")).json()["items"]
        assert [one["patch_id"] for one in only] == [made[0]]
        for bad in ("cursor=%00", "cursor=zzzz", "status=DONE", "limit=0", "colour=red"):
            assert (await world.call("GET", f"/api/patch?{bad}")).status_code == 422, bad

    play(scene)


def test_health_says_what_it_touches(play: Play) -> None:
    async def scene(world: World) -> None:
        assert (await world.client.get("/livez")).status_code == 200
        assert (await world.client.get("/readyz")).status_code == 200
        world.bus.away = True
        assert (await world.client.get("/livez")).status_code == 200
        assert (await world.client.get("/readyz")).status_code == 503

    play(scene)


def test_a_bug_shows_nothing_of_its_insides(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(world: World) -> None:
        async def broken(*_: object) -> None:
            raise RuntimeError("password=hunter2")

        monkeypatch.setattr("hms_mgt.store.instances.fleet", broken)
        answer = await world.call("GET", "/api/instance")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal")
        assert "hunter2" not in answer.text

    play(scene)


def test_every_operation_documents_its_problems(play: Play) -> None:
    async def scene(world: World) -> None:
        document = (await world.client.get("/openapi.json")).json()
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if path.startswith("/api/"):
                    assert "401" in operation["responses"], (method, path)
        assert "Problem" in document["components"]["schemas"]
        body = document["paths"]["/api/patch"]["post"]["requestBody"]["content"]
        assert set(body) == {"application/json", "application/yaml"}
        for verb in ("cancel", "rollback"):
            end = document["paths"][f"/api/patch/{{patch_id}}/{verb}"]["post"]
            assert end["requestBody"]["required"] is False
            shape = end["requestBody"]["content"]["application/json"]["schema"]
            assert shape["properties"]["reason"]["maxLength"] == 500
            assert {"413", "415"} <= set(end["responses"])
        json.dumps(document)

    play(scene)
