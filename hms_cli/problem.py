"""A refusal as lines a person can act on. Pure.

A problem document says in words what is wrong; some also carry facts for a program, such as the patch in the way
and the next free window. Where there are facts the lines are made of them, and end in what to do.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

from hms_cli import text

Facts = Mapping[str, Any]
_EVERYBODY = {None, "*"}


class Refusal(NamedTuple):
    """What was refused, why, and with what facts."""

    code: str
    detail: str
    errors: Sequence[Facts]
    facts: Facts


def refusal(told: Facts) -> Refusal:
    """Read a refusal: a problem document, or one of those that a dry run foresees."""
    facts = told.get("facts", told)
    errors = [one for one in told.get("errors") or () if isinstance(one, Mapping)]
    return Refusal(
        str(told.get("code", "")),
        str(told.get("detail") or told.get("title") or ""),
        errors,
        facts if isinstance(facts, Mapping) else {},
    )


def problem_lines(problem: Facts, status: int) -> list[str]:
    """The lines of a refusal, with what helps to get on: where a token goes, which request to ask about."""
    lines = refusal_lines(refusal(problem)) or [f"HTTP {status}"]
    if status == HTTPStatus.UNAUTHORIZED:
        lines.append("set --token or HMS_TOKEN to a token of HMS-MGT (hms_...)")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR and problem.get("request_id"):
        lines.append(f"request {problem['request_id']}")
    return lines


def refusal_lines(told: Refusal) -> list[str]:
    """`field /changes/rate_limit_rps: Exceeds platform cap`, a line for each mistake, else the one detail."""
    if told.code == "patch_conflict" and _conflicts(told):
        return _conflict_lines(told)
    if told.code == "quota_exceeded" and isinstance(told.facts.get("excess"), Mapping):
        return [told.detail, _less(told.facts["excess"])]
    if told.code == "frozen" and isinstance(told.facts.get("freeze"), Mapping):
        return _freeze_lines(told.facts["freeze"], told.facts.get("free_from"))
    if told.code == "precondition_failed":
        return ["it was changed between our reading and our writing; nothing was written. Look at it, then try again"]
    lines = [f"field {one.get('pointer') or '/'}: {one.get('detail')}" for one in told.errors]
    return lines or [told.detail] * bool(told.detail)


def _conflicts(told: Refusal) -> list[Facts]:
    found = told.facts.get("conflicts")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _conflict_lines(told: Refusal) -> list[str]:
    conflicts, free = _conflicts(told), told.facts.get("next_free")
    numbers = ", ".join(str(one.get("patch_id")) for one in conflicts)
    slot = f"the next free window is {_exactly(free)}" if isinstance(free, Mapping) else "no later window is free"
    way_out = f"give the patch another window or priority, or say in it: supersedes: [{numbers}]"
    return [*map(_conflict, conflicts), slot, way_out]


def _conflict(one: Facts) -> str:
    knobs, versions = text.listed(one.get("knobs")), text.listed(one.get("versions"))
    when = text.window({"window": one.get("overlap")})
    return f"patch/{one.get('patch_id')} sets {knobs} too, of version {versions}, from {when}"


def _exactly(window: Facts) -> str:
    """A window in the server's own letters, to be copied into a patch."""
    start, end = window.get("start"), window.get("end")
    return f"{start} and later" if end is None else f"{start} to {end}"


def _less(excess: Facts) -> str:
    bound = f"the {excess.get('whose', 'quota')} raised"
    return f"ask for {excess.get('over')} less of {excess.get('resource')}, take another window, or have {bound}"


def _freeze_lines(freeze: Facts, free_from: object) -> list[str]:
    tenant, number = freeze.get("tenant"), freeze.get("id")
    whom = "every tenant" if tenant in _EVERYBODY else f"tenant {tenant}"
    return [
        f"freeze/{number} holds {whom} until {text.instant(freeze.get('ends_at'))}: {freeze.get('reason')}",
        f"start the patch at {free_from} or later, or have the freeze lifted: hms freeze lift {number}",
    ]
