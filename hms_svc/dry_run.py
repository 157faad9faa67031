"""`run --dry-run`: what would the agent change now? Shown as a diff; nothing is changed, booked, signalled or reported.

The same steps with the same code as the agent's: fetch, verify, fold, render, check. The check command needs files, and
relative includes in them only work where the real ones are: so the candidates lie beside their targets meanwhile, under
hidden names of their own (a running agent uses others), readable by nobody else.
"""

import difflib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from hms_svc import command, conf_file, drift, http, resp, source
from hms_svc.candidate import Candidate, make, mapping
from hms_svc.check_files import Missing
from hms_svc.cli import FAILED, IMPOSSIBLE, OK, within
from hms_svc.desired import Desired
from hms_svc.errand import Bell
from hms_svc.journal import Journal, JournalFile
from hms_svc.keyring import known_trust
from hms_svc.messages import Patch, read_message
from hms_svc.pair import Pair
from hms_svc.render import templates
from hms_svc.settings import Settings
from hms_svc.trust import Trust
from hms_svc.wire import Refused

ASK_SECONDS = 6.0


class Impossible(Exception):
    """It cannot be told what would change; the text says why."""


class Plan(NamedTuple):
    """What would be made real, at which revision, and what is held back because it failed here before."""

    candidate: Candidate
    revision: int
    held_back: tuple[int, ...]


def dry_run(settings: Settings) -> int:
    """Tell what would change; the result is the exit code, as diff has it."""
    try:
        plan = _plan(settings, known_trust(settings))
        changes = {path: (_now(path), text) for path, text in plan.candidate.texts.items()}
        differing = {path: pair for path, pair in changes.items() if (pair[0] or "") != pair[1]}
        sys.stdout.writelines(line for path, pair in differing.items() for line in _diff(path, *pair))
        _check(settings, plan.candidate, {path: after for path, (_, after) in differing.items()})
    except (Impossible, Missing, OSError) as error:
        detail = f"cannot tell: {conf_file.words(error)}" if isinstance(error, OSError) else str(error)
        sys.stderr.write(f"hms-svc: {' '.join(detail.split())}\n")
        return IMPOSSIBLE
    sys.stderr.write(f"hms-svc: {_words(plan, differing)}\n")
    return FAILED if differing else OK


def _words(plan: Plan, differing: Mapping[str, object]) -> str:
    ids = ", ".join(map(str, plan.candidate.ids)) or "none"
    held = f"; held back, for they failed here: {', '.join(map(str, plan.held_back))}" if plan.held_back else ""
    count = f"{len(differing)} of {len(plan.candidate.texts)} files" if differing else "nothing"
    return f"revision {plan.revision}, patches in force: {ids}{held}; {count} would change"


def _plan(settings: Settings, trust: Trust) -> Plan:
    journal = _journal(settings, trust)
    now = time.time()
    desired = Desired(settings.service, settings.version, settings.instance, now)
    desired.restore(journal.revision, journal.patches, journal.latches, complete=journal.complete)
    if (snapshot := _snapshot(settings)) is not None:
        _hear(desired, snapshot, trust, settings.tenant, now)
    wanted = desired.wanted(now)
    layers = [patch for patch in wanted if patch.id not in journal.blocked]
    held_back = tuple(patch.id for patch in wanted if patch.id in journal.blocked)
    return Plan(_candidate(settings, journal, layers), desired.revision, held_back)


def _journal(settings: Settings, trust: Trust) -> Journal:
    try:
        file = JournalFile(settings.state, settings.tenant, settings.service, settings.version)
        return file.read(trust)[0]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Impossible(f"cannot tell: the journal in {settings.state} cannot be read: {error}") from None


def _hear(desired: Desired, snapshot: bytes, trust: Trust, tenant: str, now: float) -> None:
    try:
        desired.hear(read_message(snapshot, trust, tenant), now)
    except Refused as refusal:
        raise Impossible(f"cannot tell: the snapshot would be refused: {refusal}") from None


def _snapshot(settings: Settings) -> bytes | None:
    """The stream's snapshot from Redis, else from MGT; None when there is no stream yet."""
    troubles = []
    for ask in (_from_redis, _from_mgt):
        try:
            if (found := within(ASK_SECONDS, partial(ask, settings))) is not None:
                return found
        except (OSError, resp.RedisError, http.HttpError) as error:
            troubles.append(settings.redis.without_secrets(str(error)))
    if len(troubles) == (2 if settings.mgt else 1):
        raise Impossible(f"cannot tell: nobody answered with the stream: {'; '.join(troubles)}")
    return None


def _from_redis(settings: Settings) -> bytes | None:
    pair = Pair(settings.redis, settings.channel, settings.snapshot_key, Bell())
    try:
        found = pair.speaker.call("GET", settings.snapshot_key)
    finally:
        pair.close()
    return found if isinstance(found, bytes) else None


def _from_mgt(settings: Settings) -> bytes | None:
    if settings.mgt is None:
        return None
    return source.fetch(settings.mgt, source.snapshot_path(settings.mgt, settings), settings.token)


def _candidate(settings: Settings, journal: Journal, layers: list[Patch]) -> Candidate:
    try:
        return make(_base(settings, journal), layers, settings.conf, templates(settings.render))
    except ValueError as error:
        raise Impossible(f"would fail: patches {[layer.id for layer in layers]} cannot be folded: {error}") from None


def _base(settings: Settings, journal: Journal) -> str:
    """The base as the agent would have it after a look at the file: somebody's edits join it."""
    text = conf_file.read_text(settings.conf)
    if journal.base is None:
        if text is None:
            raise Impossible(f"cannot tell: there is no base yet: {settings.conf} does not exist")
        try:
            mapping(text)
        except ValueError as error:
            raise Impossible(f"cannot tell: {settings.conf}: {error}") from None
        return text
    if text is None or journal.knows(text) or not text.strip():
        return journal.base
    try:
        return drift.adopt(journal.base, journal.overlay, text, journal.proven(journal.imprints)).base
    except ValueError:
        return journal.base


def _now(path: str) -> str | None:
    try:
        return conf_file.read_text(path)
    except ValueError:
        return ""


def _diff(path: str, before: str | None, after: str) -> Iterator[str]:
    old = (before or "").splitlines(keepends=True)
    lines = difflib.unified_diff(old, after.splitlines(keepends=True), "/dev/null" if before is None else path, path)
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _check(settings: Settings, candidate: Candidate, changed: Mapping[str, str]) -> None:
    if not settings.check or not changed:
        return
    with _staged(changed) as temps:
        argv = command.filled(settings.check, [temps.get(path, path) for path in candidate.texts])
        try:
            result = command.run(argv, command.CHECK_SECONDS)
        except OSError as error:
            raise Impossible(f"would fail: cannot run HMS_CHECK: {conf_file.words(error)}") from None
    if result.code != 0:
        how = f"no verdict within {command.CHECK_SECONDS:g} s" if result.code is None else f"exit {result.code}"
        raise Impossible(f"would fail: HMS_CHECK says no: {result.words or f'{argv[0]}: {how}'}")


@contextmanager
def _staged(texts: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The texts in files beside their targets, by target; gone afterwards."""
    temps: dict[str, str] = {}
    try:
        for target, text in texts.items():
            temp = conf_file.beside(conf_file.resolved(target), f"hms-dry.{os.getpid()}")
            fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            temps[target] = temp
            with os.fdopen(fd, "wb") as file:
                file.write(text.encode())
        yield temps
    finally:
        for temp in temps.values():
            os.unlink(temp)  # noqa: PTH108 - as in the agent
