"""The HTTP face, asked in process: verdicts, problems with pointers, one log line."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from fastapi import FastAPI
from nacl.signing import SigningKey

from hms_gov.app import MAX_BYTES, create_app
from hms_gov.policy import Judgement, Policy
from hms_gov.settings import SHIPPED_POLICY
from hms_svc import wire

from .samples import ALLOW, HEAD, body, write_policy

KEY = SigningKey.generate()
APP = create_app(Policy(SHIPPED_POLICY), KEY, clock=lambda: 1_732_060_800.0)


class Untouchable(Policy):
    """A policy that must not be asked, and fails in a way nobody foresaw when it is."""

    def judge(self, question: object) -> Judgement:
        raise RuntimeError(f"asked about {question}")


def ask(method: str, path: str, content: bytes | None = None, app: FastAPI = APP) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gov") as client:
            return await client.request(method, path, content=content)

    return asyncio.run(run())


def decide(**other: Any) -> httpx.Response:
    return ask("POST", "/decisions", json.dumps(body(**other)).encode())


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert {"type", "title", "status", "detail", "code", "request_id", "errors"} == set(document)
    assert (document["status"], document["code"]) == (status, code)
    return document


@pytest.mark.parametrize(("priority", "verdict"), [(0, "allow"), (101, "deny")])
def test_a_verdict_comes_signed(priority: int, verdict: str) -> None:
    told = decide(priority=priority).json()
    payload = wire.unseal(told["decision"], wire.DECISION, wire.Pins((KEY.verify_key,)))
    assert payload["verdict"] == told["verdict"] == verdict
    assert payload["reasons"] == told["reasons"]
    assert payload["decision_id"] == told["decision_id"]
    assert payload["policy_revision"] == told["policy_revision"]
    assert payload["issued"] == "2024-11-20T00:00:00.000000Z"


def evaluate(**other: Any) -> httpx.Response:
    return ask("POST", "/evaluations", json.dumps(body(**other)).encode())


@pytest.mark.parametrize("patch_id", [0, 784])
@pytest.mark.parametrize("priority", [0, 101])
def test_an_evaluation_says_what_a_decision_would_and_signs_nothing(patch_id: int, priority: int) -> None:
    told, decided = evaluate(patch_id=patch_id, priority=priority).json(), decide(priority=priority).json()
    payload = wire.unseal(decided["decision"], wire.DECISION, wire.Pins((KEY.verify_key,)))
    assert told == {name: payload[name] for name in ("verdict", "reasons", "obligations", "policy_revision")}


def test_an_evaluation_tells_what_would_be_obliged() -> None:
    hours = {"start": "2024-11-20T00:00Z", "end": "2024-11-20T04:00Z"}
    told = evaluate(patch_id=0, break_glass=True, reason="fire", window=hours).json()
    assert told["obligations"] == [{"approvals": 2, "roles": ["approver", "release_manager"]}]


def test_an_evaluation_is_read_as_strictly_as_a_question() -> None:
    problem(evaluate(patch_id=-1), 422, "invalid")
    problem(evaluate(break_glass="yes"), 422, "invalid")
    problem(ask("POST", "/evaluations", b" " * (MAX_BYTES + 1)), 413, "too_large")
    assert decide(patch_id=0).status_code == 422


def test_break_glass_is_signed_where_it_is_so_and_not_mentioned_where_not() -> None:
    signed = [decide(break_glass=said).json()["decision"] for said in (True, False)]
    fire, usual = (wire.unseal(one, wire.DECISION, wire.Pins((KEY.verify_key,))) for one in signed)
    assert fire["break_glass"] is True
    assert "break_glass" not in usual


def test_each_decision_has_its_own_id() -> None:
    assert decide().json()["decision_id"] != decide().json()["decision_id"]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"patch_id": "784"}, "/patch_id"),
        ({"patch_id": 0}, "/patch_id"),
        ({"patch_id": True}, "/patch_id"),
        ({"tenant": "t*"}, "/tenant"),
        ({"tenant": "IACB\n"}, "/tenant"),
        ({"service": "A::B"}, "/service"),
        ({"version_selector": ""}, "/version_selector"),
        ({"changes": [1]}, "/changes"),
        ({"window": {"start": 5}}, "/window/start"),
        ({"window": {"start": "2024-11-20T00:00:00"}}, "/window/start"),
        ({"window": {"start": "0001-01-01T00:00:00+14:00"}}, "/window/start"),
        ({"window": {"start": "2024-11-20T00:00Z", "ends": None}}, "/window/ends"),
        ({"window": {"start": "2024-11-20T00:00Z", "end": "soon"}}, "/window/end"),
        ({"window": {"start": "2024-11-20T00:00Z", "end": "2024-11-20T00:00Z"}}, "/window"),
        ({"priority": 1.5}, "/priority"),
        ({"author": None}, "/author"),
        ({"reason": 5}, "/reason"),
        ({"break_glass": 1}, "/break_glass"),
    ],
)
def test_bad_input_is_pointed_at(fields: dict[str, Any], pointer: str) -> None:
    errors = problem(decide(**fields), 422, "invalid")["errors"]
    assert [error["pointer"] for error in errors] == [pointer]


@pytest.mark.parametrize("text", ["NaN", "1e999", "-Infinity", '"\\ud800"', "[" * 40 + "]" * 40, "[" * 9000])
def test_what_cannot_be_signed_and_said_again_is_refused(text: str) -> None:
    whole = json.dumps(body(changes={"x": "HERE"})).replace('"HERE"', text)
    problem(ask("POST", "/decisions", whole.encode()), 422, "invalid")


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"{"])
def test_a_body_that_is_no_object_is_refused(content: bytes) -> None:
    problem(ask("POST", "/decisions", content), 422, "invalid")


def test_an_error_never_repeats_a_value() -> None:
    assert "hunter2" not in decide(patch_id="hunter2", window={"start": "x"}).text


def test_a_field_not_known_here_reaches_the_policy_and_not_the_signature(tmp_path: Path) -> None:
    write_policy(tmp_path, main=ALLOW, note=HEAD + "deny contains input.note\n")
    app = create_app(Policy(tmp_path), KEY)
    told = ask("POST", "/decisions", json.dumps(body(note="seen")).encode(), app).json()
    assert told["reasons"] == ["seen"]
    assert "note" not in wire.unseal(told["decision"], wire.DECISION, wire.Pins((KEY.verify_key,)))


def test_a_body_longer_than_a_message_is_refused() -> None:
    problem(ask("POST", "/decisions", b" " * (MAX_BYTES + 1)), 413, "too_large")


def test_the_frameworks_own_errors_have_the_same_shape() -> None:
    problem(ask("GET", "/nowhere"), 404, "not_found")
    response = ask("GET", "/decisions")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "POST"


def test_an_unforeseen_failure_decides_nothing_and_tells_nothing(tmp_path: Path) -> None:
    app = create_app(Untouchable(tmp_path), KEY)
    response = ask("POST", "/decisions", json.dumps(body()).encode(), app)
    problem(response, 500, "internal")
    assert "IACB" not in response.text


def test_livez_touches_nothing(tmp_path: Path) -> None:
    response = ask("GET", "/livez", app=create_app(Untouchable(tmp_path / "missing"), KEY))
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


def test_one_log_line_a_decision_without_changes() -> None:
    with structlog.testing.capture_logs() as lines:
        decide(changes={"password": "hunter2"}, priority=101)
    [line] = lines
    assert set(line) == {
        "event", "log_level", "decision_id", "patch_id", "tenant", "verdict", "policy_revision", "ms"
    }  # fmt: skip
    assert (line["verdict"], line["patch_id"], line["tenant"]) == ("deny", 784, "IACB")


def test_one_log_line_an_evaluation_without_changes() -> None:
    with structlog.testing.capture_logs() as lines:
        evaluate(changes={"password": "hunter2"}, patch_id=0)
    [line] = lines
    assert set(line) == {"event", "log_level", "tenant", "verdict", "policy_revision"}


@pytest.mark.parametrize("path", ["/decisions", "/evaluations"])
def test_the_body_is_described_in_openapi(path: str) -> None:
    described = ask("GET", "/openapi.json").json()["paths"][path]["post"]["requestBody"]
    assert "patch_id" in described["content"]["application/json"]["schema"]["properties"]
