"""A dry run told: what would change where, whom it would reach, what speaks against it, what the policy says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias

from rich.console import Group, RenderableType
from rich.text import Text

from hms_cli import approvals, text
from hms_cli.columns import facts
from hms_cli.outcome import Difference
from hms_cli.output import Result
from hms_cli.problem import refusal, refusal_lines
from hms_cli.views.detail import SHORT

Rehearsal: TypeAlias = Mapping[str, Any]
_Row: TypeAlias = tuple[str, Text]
_RESOURCES = ("replicas", "cpu", "memory")
_MOST_STEPS = 5  # instants at which a quota is told
_STYLES = {"---": "bold", "+++": "bold", "@@": "cyan", "+": "green", "-": "red"}  # of a diff's lines, by their start


class _Step(NamedTuple):
    """How much of a resource is used from an instant on, without the patch and with it."""

    at: str
    before: object
    after: object

    def words(self, bound: object) -> str:
        return f"{self.before} -> {self.after} of {bound}, from {text.instant(self.at)}"


def rehearsal(found: Rehearsal) -> Result:
    """What a submission would meet and do. Its names are the instances it would reach."""
    names = [f"instance/{one.get('instance')}" for one in _reach(found, hit=True)]
    return Result(found, names, lambda _width: _drawn(found))


def difference(found: Rehearsal) -> Difference:
    """What the dry run comes to."""
    if not found.get("accepted") or _policy(found).get("verdict") == "deny" or found.get("rejection"):
        return Difference.REFUSED
    return Difference.SOME if any(one.get("changes") for one in found.get("versions") or ()) else Difference.NONE


def _drawn(found: Rehearsal) -> RenderableType:
    effects = [part for one in found.get("versions") or () for part in _effect(one)]
    rows = [*_what(found), *_where(found), *_quota(found), *_judgement(found), *_against(found)]
    return Group(*effects, facts(rows))


def _effect(effect: Mapping[str, Any]) -> Iterator[RenderableType]:
    """One version: the diff, and what of the patch does not show."""
    known = "" if effect.get("base_known") else "  (not registered: its own configuration is not known here)"
    yield text.plain(f"version {effect.get('version')}{known}", "bold")
    for line in str(effect.get("diff") or "nothing changes").splitlines():
        yield text.plain(line, next((style for start, style in _STYLES.items() if line.startswith(start)), ""))
    if effect.get("shadowed"):
        yield text.plain(f"without effect, another patch decides: {text.listed(effect['shadowed'])}", "yellow")
    yield Text()


def _what(found: Rehearsal) -> Iterator[_Row]:
    yield "service", text.plain(f"{found.get('service')} of tenant {found.get('tenant')}")
    yield "window", text.plain(text.window(found))
    if found.get("freeze_exemption"):
        yield "freeze", text.plain(f"does not hold it: {found['freeze_exemption']}", text.ALARM)
    if not found.get("versions"):
        yield "versions", text.plain("none that is registered or runs matches the selector", "yellow")


def _where(found: Rehearsal) -> Iterator[_Row]:
    """Instances hit, by version, and missed, by reason."""
    hit, missed = _reach(found, hit=True), _reach(found, hit=False)
    share = 100 * float(found.get("blast_radius") or 0)
    yield "blast", text.plain(f"{share:.3g}% of the tenant's instances ({len(hit)} of {len(hit) + len(missed)})")
    yield from _groups("hit", hit, lambda one: f"version {one.get('version')}")
    yield from _groups("missed", missed, lambda one: str(one.get("reason")))


def _reach(found: Rehearsal, *, hit: bool) -> list[Mapping[str, Any]]:
    return [one for one in found.get("instances") or () if bool(one.get("hit")) is hit]


def _groups(
    name: str, instances: Iterable[Mapping[str, Any]], by: Callable[[Mapping[str, Any]], str]
) -> Iterator[_Row]:
    for place, (shared, group) in enumerate(groupby(sorted(instances, key=by), by)):
        names = [one.get("instance") for one in group]
        yield "" if place else name, text.plain(f"{len(names)}: {shared} ({text.listed(names)})")


def _quota(found: Rehearsal) -> Iterator[_Row]:
    """Bounded resources whose use changes, at the instants at which it does."""
    quota = found.get("quota") or {}
    bounds = quota.get("bounds") or {}
    for name in _RESOURCES:
        steps = _steps(quota, name) if bounds.get(name) is not None else []
        if any(step.before != step.after for step in steps):
            told = [f"{name} {step.words(bounds[name])}" for step in steps]
            more = [f"and at {len(told) - _MOST_STEPS} more instants"] if len(told) > _MOST_STEPS else []
            for place, line in enumerate([*told[:_MOST_STEPS], *more]):
                yield "" if place else "quota", text.plain(line)


def _steps(quota: Mapping[str, Any], name: str) -> list[_Step]:
    """The instants at which a resource is used otherwise than before."""
    before, after = quota.get("before") or [], quota.get("after") or []
    found: list[_Step] = []
    for at in sorted({str(one.get("at")) for one in [*before, *after]}):
        step = _Step(at, _used(before, name, at), _used(after, name, at))
        if not found or found[-1][1:] != step[1:]:
            found.append(step)
    return found


def _used(profile: Sequence[Mapping[str, Any]], name: str, at: str) -> Any:
    return next((one.get(name) for one in reversed(profile) if str(one.get("at")) <= at), "?")


def _policy(found: Rehearsal) -> Mapping[str, Any]:
    return found.get("policy") or {}


def _judgement(found: Rehearsal) -> Iterator[_Row]:
    policy = _policy(found)
    verdict = str(policy.get("verdict"))
    style = {"allow": "green", "deny": "red"}.get(verdict, "yellow")
    revision = f"by policy {str(policy['policy_revision'])[:SHORT]}" if policy.get("policy_revision") else ""
    yield "policy", Text("  ").join(part for part in (text.plain(verdict, style), text.plain(revision, "dim")) if part)
    for reason in policy.get("reasons") or ():
        yield "", text.plain(reason)
    if verdict != "deny" and found.get("rejection"):
        yield "review", text.plain(f"would reject it: {found['rejection']}", text.ALARM)
    if policy.get("obligations"):
        yield "approvals", text.plain(f"needs {approvals.asked(policy['obligations'])}", "yellow")


def _against(found: Rehearsal) -> Iterator[_Row]:
    """Each reason why it would not be taken in, as lines."""
    for told in found.get("refusals") or ():
        for place, line in enumerate(refusal_lines(refusal(told))):
            yield "" if place else "refused", text.plain(line, "" if place else "red")
