"""The HTTP face of governance: POST /decisions, POST /evaluations and GET /livez.

An evaluation is what a decision would be, by the same policy, for a dry run: unsigned and without an id, so that
nothing can be done with it.

The service holds no state and no list of who may ask: whoever can reach it may ask, and only its signature
counts. Put it on a network where MGT alone reaches it. A question is decided on a worker thread, so /livez
answers while a slow policy runs.
"""

import time
from collections.abc import Callable
from typing import Annotated, Any
from uuid import uuid4

import structlog
from fastapi import Depends, FastAPI, Request
from nacl.signing import SigningKey
from structlog.typing import FilteringBoundLogger

from hms_gov import decision, problem
from hms_gov.policy import Policy
from hms_gov.question import Question, Supposition
from hms_svc import wire


def _body(question: type[Question]) -> dict[str, Any]:
    """Describe a request body for OpenAPI: it is read by hand, because its length is bounded."""
    content = {"application/json": {"schema": question.model_json_schema()}}
    return {"requestBody": {"content": content, "required": True}}


MAX_BYTES = wire.MAX_BYTES // 2  # a decision is base64 inside base64 in a stream message (16/9 its size)
log: FilteringBoundLogger = structlog.get_logger("hms_gov")


def create_app(policy: Policy, *keys: SigningKey, clock: Callable[[], float] = time.time) -> FastAPI:
    """The application, signing with all the keys; `clock` gives epoch seconds and dates the decisions."""
    app = FastAPI(
        title="HMS-GOV",
        description="Is this patch compliant? A signed answer.",
        version="1",
        docs_url=None,
        redoc_url=None,
    )
    problem.install(app)

    @app.get("/livez")
    async def livez() -> dict[str, str]:
        """Alive: the process answers. Touches nothing else, so a broken policy does not restart it."""
        return {"status": "ok"}

    @app.post("/decisions", openapi_extra=_body(Question))
    def decide(question: Annotated[Question, Depends(read_question)]) -> dict[str, Any]:
        """Judge one patch and sign the verdict, allow or deny."""
        began = time.perf_counter()
        judgement = policy.judge(question.for_policy())
        payload = decision.statement(question, judgement, f"dec_{uuid4().hex}", clock())
        envelope = wire.seal(wire.DECISION, payload, *keys)
        _record(payload, time.perf_counter() - began)
        return decision.answer(payload, envelope)

    @app.post("/evaluations", openapi_extra=_body(Supposition))
    def evaluate(supposed: Annotated[Supposition, Depends(read_supposition)]) -> dict[str, Any]:
        """Judge a patch that need not exist, and sign nothing."""
        judgement = policy.judge(supposed.for_policy())
        log.info("evaluation", tenant=supposed.tenant, verdict=judgement.verdict, policy_revision=judgement.revision)
        return decision.evaluation(judgement)

    return app


async def read_question(request: Request) -> Question:
    """The body, short enough to travel once it is signed, read strictly."""
    return Question.model_validate_json(await _read(request))


async def read_supposition(request: Request) -> Supposition:
    """The body of an evaluation, bounded and read as strictly."""
    return Supposition.model_validate_json(await _read(request))


async def _read(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BYTES:
            raise problem.TooLargeError(f"A question is at most {MAX_BYTES} bytes.")
    return bytes(body)


def _record(payload: dict[str, Any], seconds: float) -> None:
    """One line per decision, without changes and reasons: both may carry values a log should not hold."""
    told = ("decision_id", "patch_id", "tenant", "verdict", "policy_revision")
    log.info("decision", **{name: payload[name] for name in told}, ms=round(seconds * 1000, 2))
