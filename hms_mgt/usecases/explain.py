"""Explains a service's configuration at any instant: the past as it was then, the future as it is planned now."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from sqlalchemy.ext.asyncio import AsyncConnection

from hms_mgt.domain import effective, plan
from hms_mgt.domain.access import Actor
from hms_mgt.domain.approval import Approval, Word
from hms_mgt.domain.effective import Key
from hms_mgt.domain.patch import Patch, Status
from hms_mgt.domain.plan import Known, Place
from hms_mgt.errors import Invalid, NotFound, Problem
from hms_mgt.store import approvals, catalog, history
from hms_mgt.store.database import EVERY_TENANT, Database
from hms_svc import layers, merge, messages, wire
from hms_svc.trust import Trust

Tense: TypeAlias = Literal["past", "present", "future"]


class Question(NamedTuple):
    """What is asked. Who is bound to a tenant may leave it out, and the version where it is plain."""

    tenant: str | None
    service: str
    version: str | None
    instance: str | None
    at: datetime


class Subject(NamedTuple):
    """What the question is about, with nothing left out."""

    tenant: str
    service: str
    version: str
    instance: str | None


class Standing(NamedTuple):
    """A patch in force, with the status it had and the evidence for it."""

    patch: Patch
    status: Status
    approvals: Sequence[Approval]
    # `verified`, or why what GOV signed does not vouch for this patch.
    signature: str


class Explanation(NamedTuple):
    """The configuration at an instant, and why."""

    subject: Subject
    at: datetime
    tense: Tense
    # The stream's; None where it had none yet, and for what is ahead.
    revision: int | None
    base: history.Base | None
    configuration: Mapping[str, Any]
    keys: Sequence[Key]
    # By id, in fold order.
    standing: Mapping[int, Standing]


class _Found(NamedTuple):
    """What was known at the instant; of what is ahead, what is known now."""

    revision: int | None
    base: history.Base | None
    known: Mapping[int, Known]
    approvals: Mapping[int, Sequence[Approval]]


async def explain(db: Database, trust: Trust, actor: Actor, asked: Question, now: datetime) -> Explanation:
    """Explain a configuration, past, present or to come.

    Raises:
        Invalid: the tenant or the version must be said.
        NotFound: the tenant, the service, the version or the instance is not there in the actor's scope.
    """
    async with db.transaction(actor.tenant or EVERY_TENANT, still=True) as tx:
        subject = await _subject(tx, actor, asked)
        found = await _look(tx, subject, min(asked.at, now))
    ahead = asked.at > now
    known, place = list(found.known.values()), Place(subject.version, subject.instance or "")
    stack = (plan.planned if ahead else plan.in_stream)(known, place, asked.at)
    base = {} if found.base is None else dict(found.base.document)
    return Explanation(
        subject=subject,
        at=asked.at,
        tense="future" if ahead else "past" if asked.at < now else "present",
        revision=None if ahead else found.revision,
        base=found.base,
        configuration=layers.fold(base, stack),
        keys=effective.explain(base, stack, plan.ahead(known, place, stack, asked.at)),
        standing={one.id: _standing(found, one.id, trust, min(asked.at, now)) for one in stack},
    )


async def _subject(tx: AsyncConnection, actor: Actor, asked: Question) -> Subject:
    tenant, service = asked.tenant or actor.tenant, asked.service
    if tenant is None:
        raise Invalid.of([Problem("/query/tenant", "this token is for every tenant: say which one is meant")])
    if actor.tenant not in {None, tenant} or not await catalog.tenant_exists(tx, tenant):
        raise NotFound(f"there is no tenant {tenant}")
    known = await history.versions(tx, tenant, service)
    if not known:
        raise NotFound(f"there is no service {service} for tenant {tenant}")
    version = await _version(tx, tenant, asked, known)
    if version not in known:
        raise NotFound(f"{service} {version} is not registered for tenant {tenant}; there is {', '.join(known)}")
    return Subject(tenant, service, version, asked.instance)


async def _version(tx: AsyncConnection, tenant: str, asked: Question, known: Sequence[str]) -> str:
    running = None
    if asked.instance is not None:
        running = await history.instance_version(tx, tenant, asked.service, asked.instance)
        if running is None:
            raise NotFound(f"there is no instance {asked.instance} of {asked.service} for tenant {tenant}")
    version = asked.version or running or (known[0] if len(known) == 1 else None)
    if version is None:
        raise Invalid.of([Problem("/query/version", f"say which version is meant: {', '.join(known)}")])
    return version


async def _look(tx: AsyncConnection, subject: Subject, at: datetime) -> _Found:
    tenant, service, version, _ = subject
    known = {one.patch.id: one for one in await history.patches_at(tx, tenant, service, at)}
    return _Found(
        revision=await history.revision_at(tx, tenant, service, at),
        base=await history.base_at(tx, tenant, service, version, at),
        known=known,
        approvals=await approvals.of_patches(tx, list(known)),
    )


def _standing(found: _Found, number: int, trust: Trust, at: datetime) -> Standing:
    one = found.known[number]
    said = found.approvals.get(number, ())
    approved = [word for word in said if word.verdict is Word.APPROVE and word.at <= at]
    return Standing(one.patch, one.status, approved, _signature(one.patch, trust))


def _signature(patch: Patch, trust: Trust) -> str:
    """Verify GOV's decision as a sidecar does, and that what GOV signed is what is stored."""
    if patch.decision is None:
        return "unsigned"
    entry = messages.entry(patch.approval_order or 0, wire.ADMIT_ALL, dict(patch.decision))
    try:
        signed = messages.read_entry(entry, trust, patch.spec.tenant, patch.spec.service)
    except wire.Refused as refused:
        return refused.reason
    return "verified" if _content(signed) == _content(plan.as_carried(patch)) else "altered"


def _content(patch: messages.Patch) -> tuple[object, ...]:
    return patch.id, patch.selector, merge.digest(patch.changes), patch.start, patch.end, patch.priority
