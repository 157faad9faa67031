"""HTTP client of HMS-GOV. It trusts no answer: the decision must be signed and must be about what was asked."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from hms_mgt.errors import Unavailable
from hms_mgt.ports import Verdict
from hms_svc import messages, wire
from hms_svc.trust import Trust

# What of the question the decision must repeat word for word.
_BOUND = ("patch_id", "tenant", "service", "version_selector", "changes", "window", "priority")
# What an evaluation tells.
_EVALUATED = ("verdict", "reasons", "obligations", "policy_revision")
# For the whole answer: httpx' own limit is for each read, and a dripping answer would pass it for ever.
_ANSWER_WITHIN_S = 5.0


class HttpGovernance:
    """`ports.Governance` over HTTP. Anything but a verified verdict counts as no answer: it fails closed."""

    def __init__(self, url: str, pins: wire.Pins, timeout_s: float = 2.0) -> None:
        self._trust = Trust(pins, wire.Pins(()))
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout_s)

    async def decide(self, facts: Mapping[str, Any]) -> Verdict:
        """Ask for a signed verdict on one patch.

        Raises:
            Unavailable: when GOV does not answer, or its answer does not verify.
        """
        envelope = (await self._ask("/decisions", facts)).get("decision")
        if not isinstance(envelope, dict):
            raise Unavailable("GOV's answer cannot be read")
        try:
            return self._read(envelope, facts)
        except wire.Refused as refused:
            raise Unavailable(f"GOV's decision does not verify: {refused.reason}") from refused

    async def evaluate(self, facts: Mapping[str, Any]) -> Verdict:
        """Ask what the verdict on a patch would be. The answer is unsigned, so it is good for showing and no more.

        Raises:
            Unavailable: when GOV does not answer, or its answer cannot be read.
        """
        answer = await self._ask("/evaluations", facts)
        return _verdict({}, {name: answer.get(name) for name in _EVALUATED})

    async def _ask(self, path: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                answer = await self._client.post(path, json=facts)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise Unavailable("GOV does not answer in time") from error
        except httpx.TransportError as error:
            raise Unavailable("GOV cannot be reached") from error
        if answer.status_code != httpx.codes.OK:
            raise Unavailable(f"GOV answers with HTTP {answer.status_code}")
        try:
            document = answer.json()
        except ValueError as error:
            raise Unavailable("GOV's answer cannot be read") from error
        if not isinstance(document, dict):
            raise Unavailable("GOV's answer cannot be read")
        return document

    def _read(self, envelope: dict[str, Any], facts: Mapping[str, Any]) -> Verdict:
        statement = wire.unseal(envelope, wire.DECISION, self._trust.gov)
        for name in _BOUND:
            if statement.get(name) != facts[name]:
                raise Unavailable(f"GOV's decision is about another {name}")
        # Said only where it is so; what was asked as an emergency must have been judged as one, and nothing else.
        if statement.get("break_glass", False) is not facts.get("break_glass", False):
            raise Unavailable("GOV's decision is about another break_glass")
        if statement.get("verdict") == "allow":
            # What a sidecar would refuse must never get into a stream: it would take the whole stream with it.
            entry = messages.entry(0, wire.ADMIT_ALL, envelope)
            messages.read_entry(entry, self._trust, facts["tenant"], facts["service"])
        return _verdict(wire.bare(envelope), statement)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _verdict(envelope: Mapping[str, Any], statement: Mapping[str, Any]) -> Verdict:
    reasons, obligations = statement.get("reasons"), statement.get("obligations")
    if not isinstance(reasons, list) or not isinstance(obligations, list):
        raise Unavailable("GOV's decision has no list of reasons or obligations")
    expires = statement.get("expires")
    return Verdict(
        envelope=envelope,
        decision_id=str(statement.get("decision_id", "")),
        allowed=statement.get("verdict") == "allow",
        reasons=tuple(str(reason) for reason in reasons),
        policy_revision=str(statement.get("policy_revision")),
        obligations=tuple(obligations),
        expires=None if expires is None else wire.instant(str(expires)),
    )
