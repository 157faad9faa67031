"""A fake of HMS-MGT for the CLI's tests: a real HTTP server whose answers are scripted by the test.

It keeps the shapes of the API and none of its behaviour: a patch walks through the documents it was given,
one step for each time somebody looks, and then stays at the last.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

DROP = 0  # instead of a status: close the connection without an answer


class Seen(NamedTuple):
    """One request that arrived."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    """One answer to give, in place of what the fake would say."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = {}


class FakeMgt:
    """What the server knows; the test fills it and looks at `seen`."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[Seen] = []
        self.patches: dict[int, list[dict[str, Any]]] = {}
        self.instances: list[dict[str, Any]] = []
        self.next: list[Answer] = []  # given first, one for each request
        self.said: dict[tuple[str, str], Answer] = {}  # what there is at other methods and paths
        self.page = 100

    def answer(self, request: Seen) -> Answer:
        self.seen.append(request)
        if self.next:
            return self.next.pop(0)
        if (request.method, request.path) in self.said:
            return self.said[request.method, request.path]
        parts = request.path.strip("/").split("/")
        if parts[:2] == ["api", "instance"]:
            return Answer(200, {"items": self.instances})
        if parts[:2] != ["api", "patch"]:
            return self._problem(404, "there is nothing here")
        if len(parts) == 2:
            return self._accept() if request.method == "POST" else self._list(request)
        return self._one(int(parts[2]), moved=request.method == "POST")

    def _accept(self) -> Answer:
        patch_id = min(self.patches)
        one = self.patches[patch_id][0]
        body = {name: one[name] for name in ("patch_id", "tenant", "service")}
        return Answer(202, {**body, "status": "QUEUED", "href": f"/api/patch/{patch_id}"})

    def _list(self, request: Seen) -> Answer:
        start = int(request.query.get("cursor", ["0"])[0])
        wanted = {name: value[0] for name, value in request.query.items() if name != "cursor"}
        found = [script[0] for script in self.patches.values()]
        found = [one for one in found if all(one[name] == value for name, value in wanted.items())]
        more = str(start + self.page) if len(found) > start + self.page else None
        return Answer(200, {"items": found[start : start + self.page], "next_cursor": more})

    def _one(self, patch_id: int, *, moved: bool) -> Answer:
        script = self.patches.get(patch_id)
        if script is None:
            return self._problem(404, f"there is no patch {patch_id}")
        return Answer(202 if moved else 200, script.pop(0) if len(script) > 1 else script[0])

    def _problem(self, status: int, detail: str) -> Answer:
        return Answer(status, problem(status, detail))


def problem(status: int, detail: str, *fields: tuple[str, str], code: str = "c", **facts: Any) -> dict[str, Any]:
    """A problem document as the API writes it."""
    errors = [{"pointer": pointer, "detail": words} for pointer, words in fields]
    more = {"type": "about:blank", "title": "t", "code": code, "request_id": "req-1", "errors": errors}
    return {**facts, "status": status, "detail": detail, **more}


def patch(status: str, patch_id: int = 784, **other: Any) -> dict[str, Any]:
    """The seed's patch in one state; `effective` says how many of its three instances confirmed."""
    effective = other.pop("effective", 3 if status == "APPLIED" else 0)
    pods = ["pod-1", "pod-2", "pod-3"]
    waiting = f"{', '.join(pods[effective:])} to confirm" if status == "ROLLING_OUT" else ""
    return {
        "patch_id": patch_id,
        "status": status,
        "status_reason": "",
        "tenant": "IACB",
        "service": "ARTIST_REGISTRY_API",
        "version_selector": ">=2.1.0",
        "changes": {"rate_limit_rps": 200, "replicas": 6},
        "window": {"start": "2024-11-20T00:00:00Z", "end": "2024-12-05T00:00:00Z"},
        "priority": 0,
        "reason": "holiday market",
        "author": "iacb-dev",
        "created_at": "2024-11-20T09:00:00Z",
        "updated_at": "2024-11-20T09:00:01Z",
        "decision": None
        if status == "QUEUED"
        else {
            "decision_id": "dec_1",
            "verdict": "allow",
            "reasons": [],
            "policy_revision": "sha256:572504cf64005eead57",
        },
        "progress": {
            "targeted": pods,
            "effective": pods[:effective],
            "failed": [],
            "overdue": [],
            "replicas": None,
            "waiting_for": waiting,
        },
        "obligations": [],
        "break_glass": False,
        "supersedes": [],
        "superseded_by": None,
        "freeze_exemption": None,
        "held_until": None,
        "approvals": [],
        "events": [{"at": "2024-11-20T09:00:00Z", "from": None, "to": "QUEUED", "actor": "iacb-dev", "detail": ""}],
        "receipts": [],
        **other,
    }


def instance(name: str, **other: Any) -> dict[str, Any]:
    """One instance of the fleet."""
    return {
        "instance": name,
        "tenant": "IACB",
        "service": "ARTIST_REGISTRY_API",
        "version": "2.1.0",
        "url": None,
        "status": "LIVE",
        "revision": 7,
        "active": [784],
        "failed": [],
        "refused": {},
        "phase": "failed",
        "trouble": "written: /etc/service/conf.yml: No space left on device",
        "drift": ["greeting", "db.pool"],
        "last_seen": "2024-11-20T09:00:00Z",
        **other,
    }


@contextmanager
def serving() -> Iterator[FakeMgt]:
    """A fake on a free port."""
    fake = FakeMgt()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            where = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = fake.answer(Seen(self.command, where.path, parse_qs(where.query), headers, body))
            if answer.status == DROP:
                self.close_connection = True
                return
            content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"content-length": str(len(content)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = _handle  # noqa: N815 the base class calls these names

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class's name
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
