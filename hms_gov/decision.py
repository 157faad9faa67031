"""The statement governance signs, built from a question and a judgement without clock, randomness or I/O.

A denial is a statement like any other, so a refusal can be shown to an auditor as well as an approval can.
The statement repeats everything an agent acts on, in the exact spelling it will be verified in; it ends
when the window does, and never when the patch has no end.
"""

from typing import Any

from hms_gov.policy import Judgement
from hms_gov.question import Question
from hms_svc import wire

PAYLOAD_VERSION = 1


def statement(question: Question, judgement: Judgement, decision_id: str, issued: float) -> dict[str, Any]:
    """The payload of the envelope; `issued` in epoch seconds.

    `break_glass` is said where it is so and left out where not, so that every other decision reads as ever.
    """
    emergency = {"break_glass": True} if question.break_glass else {}
    return {
        "v": PAYLOAD_VERSION,
        "decision_id": decision_id,
        "verdict": judgement.verdict,
        "patch_id": question.patch_id,
        "tenant": question.tenant,
        "service": question.service,
        "version_selector": question.version_selector,
        "changes": question.changes,
        "window": question.window.model_dump(),
        "priority": question.priority,
        "reasons": list(judgement.reasons),
        "obligations": list(judgement.obligations),
        "policy_revision": judgement.revision,
        "issued": wire.rfc3339(issued),
        "expires": question.window.end,
        **emergency,
    }


def answer(payload: dict[str, Any], envelope: dict[str, Any]) -> dict[str, Any]:
    """The response: the envelope is what counts, the rest saves the caller from opening it to log it."""
    told = {name: payload[name] for name in ("decision_id", "verdict", "reasons", "policy_revision")}
    return {"decision": envelope, **told}


def evaluation(judgement: Judgement) -> dict[str, Any]:
    """The response to a supposition: what would be decided, with nothing in it that could pass for a decision."""
    return {
        "verdict": judgement.verdict,
        "reasons": list(judgement.reasons),
        "obligations": list(judgement.obligations),
        "policy_revision": judgement.revision,
    }
