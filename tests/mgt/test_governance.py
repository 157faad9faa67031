"""The client of GOV trusts no answer. GOV here is a fake: a small HTTP server that says what a test wants."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from nacl.signing import SigningKey

from hms_mgt.errors import Unavailable
from hms_mgt.governance import HttpGovernance
from hms_svc import wire

KEY, STRANGER = SigningKey.generate(), SigningKey.generate()
FACTS: dict[str, Any] = {
    "patch_id": 7,
    "tenant": "IACB",
    "service": "API",
    "version_selector": "*",
    "changes": {"a": 1},
    "window": {"start": "2026-11-23T12:00:00.000000Z", "end": None},
    "priority": 0,
    "author": "olga",
}
GOOD = {
    **FACTS,
    "v": 1,
    "verdict": "allow",
    "decision_id": "d-1",
    "reasons": [],
    "obligations": [],
    "policy_revision": "sha256:0",
    "issued": "2026-11-23T12:00:00Z",
    "expires": None,
}


class FakeGov:
    """Answers every request the same way."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b"{}"
        self.heard: list[Any] = []
        self.paths: list[str] = []
        self.hangs = threading.Event()
        self.hangs.set()

    def decides(self, statement: dict[str, Any], key: SigningKey = KEY, kind: str = wire.DECISION) -> None:
        self.body = json.dumps({"decision": wire.seal(kind, statement, key)}).encode()


@pytest.fixture
def gov() -> Iterator[tuple[FakeGov, str]]:
    fake = FakeGov()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            fake.paths.append(self.path)
            fake.heard.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            fake.hangs.wait(10)
            self.send_response(fake.status)
            self.send_header("Content-Length", str(len(fake.body)))
            self.end_headers()
            self.wfile.write(fake.body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield fake, f"http://127.0.0.1:{server.server_address[1]}"
    fake.hangs.set()
    server.shutdown()
    thread.join()
    server.server_close()


def ask(url: str, facts: dict[str, Any] = FACTS, method: str = "decide") -> Any:
    async def scene() -> Any:
        governance = HttpGovernance(url, wire.Pins((KEY.verify_key,)), timeout_s=0.3)
        try:
            return await getattr(governance, method)(facts)
        finally:
            await governance.close()

    return asyncio.run(scene())


def test_a_signed_verdict_about_the_question_is_taken(gov: tuple[FakeGov, str]) -> None:
    fake, url = gov
    fake.decides(GOOD)
    verdict = ask(url)
    assert (verdict.allowed, verdict.decision_id) == (True, "d-1")
    assert fake.heard == [FACTS]
    fake.decides({**GOOD, "verdict": "deny", "reasons": ["market day"]})
    denied = ask(url)
    assert (denied.allowed, denied.reasons) == (False, ("market day",))


def test_a_verdict_that_is_neither_allow_nor_deny_allows_nothing(gov: tuple[FakeGov, str]) -> None:
    fake, url = gov
    for verdict in ("ALLOW", "", None, True):
        fake.decides({**GOOD, "verdict": verdict})
        assert not ask(url).allowed


@pytest.mark.parametrize("field", sorted(set(FACTS) - {"author"}))
def test_a_verdict_about_something_else_is_no_answer(gov: tuple[FakeGov, str], field: str) -> None:
    fake, url = gov
    fake.decides({**GOOD, field: {"a": 2} if field == "changes" else "other"})
    with pytest.raises(Unavailable, match=f"another {field}"):
        ask(url)


def test_what_was_asked_as_an_emergency_was_judged_as_one_and_nothing_else_was(gov: tuple[FakeGov, str]) -> None:
    fake, url = gov
    emergency = {**FACTS, "break_glass": True}
    fake.decides({**GOOD, "break_glass": True})
    assert ask(url, emergency).allowed
    for facts in (FACTS, {**FACTS, "break_glass": False}):
        with pytest.raises(Unavailable, match="another break_glass"):
            ask(url, facts)
    for said in ({}, {"break_glass": False}, {"break_glass": 1}):
        fake.decides({**GOOD, **said})
        with pytest.raises(Unavailable, match="another break_glass"):
            ask(url, emergency)


def test_an_evaluation_is_shown_and_good_for_nothing_more(gov: tuple[FakeGov, str]) -> None:
    fake, url = gov
    told = {"verdict": "allow", "reasons": [], "obligations": [{"approvals": 2}], "policy_revision": "sha256:0"}
    fake.body = json.dumps({**told, "decision_id": "d-1", "decision": {"payload": ""}, "expires": "soon"}).encode()
    verdict = ask(url, {**FACTS, "patch_id": 0}, "evaluate")
    assert (fake.paths, fake.heard[0]["patch_id"]) == (["/evaluations"], 0)
    assert (verdict.allowed, verdict.obligations, verdict.policy_revision) == (True, ({"approvals": 2},), "sha256:0")
    assert (verdict.envelope, verdict.expires) == ({}, None)
    fake.body = json.dumps({**told, "verdict": "deny", "reasons": ["market day"]}).encode()
    assert ask(url, FACTS, "evaluate").reasons == ("market day",)


def test_what_is_obliged_and_until_when_it_holds_is_told(gov: tuple[FakeGov, str]) -> None:
    fake, url = gov
    fake.decides({**GOOD, "obligations": [{"approvals": 2}], "expires": "2026-11-24T00:00:00Z"})
    verdict = ask(url)
    assert (verdict.obligations, verdict.expires) == (({"approvals": 2},), wire.instant("2026-11-24T00:00:00Z"))


@pytest.mark.parametrize("field", ["v", "issued", "expires", "reasons", "obligations", "decision_id"])
def test_an_allow_that_a_sidecar_would_refuse_is_no_answer(gov: tuple[FakeGov, str], field: str) -> None:
    fake, url = gov
    for value in ({name: GOOD[name] for name in GOOD if name != field}, {**GOOD, field: {"odd": 1}}):
        fake.decides(value)
        with pytest.raises(Unavailable):
            ask(url)


def test_a_denial_without_its_lists_is_no_answer(gov: tuple[FakeGov, str]) -> None:
    fake, url = gov
    fake.decides({**GOOD, "verdict": "deny", "reasons": None})
    with pytest.raises(Unavailable):
        ask(url)


SPOILERS: list[Callable[[FakeGov], None]] = [
    lambda fake: fake.decides(GOOD, STRANGER),
    lambda fake: fake.decides(GOOD, KEY, wire.STREAM),
    lambda fake: setattr(fake, "body", b'{"verdict": "allow"}'),
    lambda fake: setattr(fake, "body", b'{"decision": {"payload": "", "signatures": []}}'),
    lambda fake: setattr(fake, "body", b'{"decision": "allow"}'),
    lambda fake: setattr(fake, "body", b"[]"),
    lambda fake: setattr(fake, "body", b"<html>"),
    lambda fake: setattr(fake, "status", 500),
    lambda fake: fake.hangs.clear(),
]


@pytest.mark.parametrize("spoil", SPOILERS, ids=range(len(SPOILERS)))
def test_anything_but_a_verified_verdict_is_no_answer(
    gov: tuple[FakeGov, str], spoil: Callable[[FakeGov], None]
) -> None:
    fake, url = gov
    fake.decides(GOOD)
    spoil(fake)
    with pytest.raises(Unavailable):
        ask(url)


@pytest.mark.parametrize("spoil", SPOILERS[2:], ids=range(len(SPOILERS) - 2))
def test_anything_that_cannot_be_read_is_no_evaluation(
    gov: tuple[FakeGov, str], spoil: Callable[[FakeGov], None]
) -> None:
    fake, url = gov
    spoil(fake)
    with pytest.raises(Unavailable):
        ask(url, FACTS, "evaluate")


@pytest.mark.parametrize("method", ["decide", "evaluate"])
def test_a_gov_that_is_away_is_no_answer(method: str) -> None:
    with pytest.raises(Unavailable, match="cannot be reached"):
        ask("http://127.0.0.1:1", method=method)
