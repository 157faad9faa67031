"""`hms-svc check`: is everything in place? One line per thing, with a hint where it is not.

Each check is a function of the settings that gives the words for "ok" or raises with the words for "not"; the
table at the end pairs it with its name and a hint. Nothing is changed: no reload, no write besides a scratch
file in the directories the agent will write to.
"""

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from hms_svc import candidate, command, conf_file, ground, probe, process, resp, source
from hms_svc.settings import Settings
from hms_svc.wire import key_id

CHECK_SECONDS = 10.0


class Missing(Exception):
    """Something is not in place; the text says what."""


class Finding(NamedTuple):
    """The result of one check."""

    name: str
    fine: bool
    words: str
    hint: str

    def line(self) -> str:
        """The line people read."""
        shown = " ".join(self.words.split())
        hint = "" if self.fine else f"\n       hint: {self.hint}"
        return f"{'ok  ' if self.fine else 'FAIL'} {self.name:<8} {shown}{hint}\n"


class Check(NamedTuple):
    """One thing to look at."""

    name: str
    look: Callable[[Settings], str]
    hint: str


def examine(settings: Settings) -> list[Finding]:
    """Look at everything; nothing that is wrong keeps the rest from being looked at."""
    return [_examine(check, settings) for check in CHECKS]


def _examine(check: Check, settings: Settings) -> Finding:
    try:
        return Finding(check.name, True, check.look(settings), "")
    except OSError as error:
        return Finding(check.name, False, f"{error.filename or ''} {error.strerror or error}", check.hint)
    except Exception as error:  # noqa: BLE001 - whatever it is, the newcomer should read it
        return Finding(check.name, False, str(error), check.hint)


def _conf(settings: Settings) -> str:
    text = conf_file.read_text(settings.conf)
    if text is None:
        raise Missing(f"{settings.conf} does not exist")
    keys = len(candidate.mapping(text))
    _writable(os.path.dirname(os.path.realpath(settings.conf)))  # noqa: PTH120 - pathlib costs a megabyte
    return f"{settings.conf}: {keys} keys at the top, its directory is writable"


def _writable(directory: str) -> None:
    scratch = f"{directory}/.hms-check.{os.getpid()}"
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.close(fd)
    os.unlink(scratch)  # noqa: PTH108 - as above


def _state(settings: Settings) -> str:
    os.makedirs(settings.state, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above
    _writable(settings.state)
    found = conf_file.read_text(f"{settings.state}/journal.json")
    return f"{settings.state}: writable, {'a journal is there' if found else 'no journal yet'}"


def _trust(settings: Settings) -> str:
    pinned = ground.trust(settings)
    gov, mgt = (", ".join(key_id(key) for key in keys) for keys in pinned)
    return f"{settings.trust}: gov {gov}; mgt {mgt}"


def _render(settings: Settings) -> str:
    if not settings.render:
        return "nothing to render (HMS_RENDER is not set)"
    made = _rendered(settings)
    for target in list(made.texts)[1:]:
        _writable(os.path.dirname(os.path.realpath(target)))  # noqa: PTH120 - as above
    return f"{', '.join(list(made.texts)[1:])}: every gap has a value, the directory is writable"


def _rendered(settings: Settings) -> candidate.Candidate:
    templates = {}
    for template, target in settings.render:
        text = conf_file.read_text(template)
        if text is None:
            raise Missing(f"the template {template} does not exist")
        templates[target] = text
    return candidate.make(conf_file.read_text(settings.conf) or "", (), settings.conf, templates)


def _process(settings: Settings) -> str:
    if settings.reload:
        return f"reloaded by a command: {settings.reload[0]} (not run now)"
    if not settings.reloads:
        return "nothing to signal (neither HMS_PIDFILE nor HMS_PROCESS nor HMS_RELOAD is set)"
    found = process.find(settings.pidfile, settings.process)
    if found is None:
        raise Missing(f"no process found by {settings.pidfile or settings.process!r}")
    os.kill(found.pid, 0)
    return f"pid {found.pid} ({found.name}) runs and may be signalled"


def _redis(settings: Settings) -> str:
    try:
        connection = resp.connect(settings.redis)
    except OSError as error:
        raise Missing(f"{settings.redis.shown}: {error}") from None
    try:
        key = f"cfg-state::{settings.tenant}::{settings.service}"
        found = connection.call("GET", key)
        connection.call("SUBSCRIBE", f"cfg::{settings.tenant}")
    finally:
        connection.close()
    return f"{settings.redis.shown}: {'a snapshot is there' if found else f'no {key} yet'}"


def _mgt(settings: Settings) -> str:
    if settings.mgt is None:
        return "no fallback (HMS_MGT_URL is not set)"
    path = f"{settings.mgt.path.rstrip('/')}/api/stream/{settings.tenant}/{settings.service}/snapshot"
    found = source.fetch(settings.mgt, path, settings.token)
    return f"{settings.mgt.shown}: {'has a snapshot' if found else 'answers, no stream yet'}"


def _check_command(settings: Settings) -> str:
    if not settings.check:
        return "candidates are not checked (HMS_CHECK is not set)"
    paths = [settings.conf, *(target for _, target in settings.render)]
    argv = [part.replace("{conf}", paths[0]).replace("{rendered}", paths[-1]) for part in settings.check]
    result = command.run(argv, CHECK_SECONDS)
    if result.code != 0:
        raise Missing(f"{argv[0]}: {result.words or result.code}")
    return f"{' '.join(argv)}: passes on the files as they are"


def _probe(settings: Settings) -> str:
    if settings.probe is None:
        return "effect is not probed (HMS_PROBE_URL is not set): a living process counts as effective"
    document = candidate.mapping(conf_file.read_text(settings.conf) or "")
    answer = probe.ask(probe.question(settings.probe, settings.probe_header, document))
    if not answer.matches:
        raise Missing(answer.words)
    return f"{settings.probe.shown}: {answer.words}"


CHECKS: Sequence[Check] = (
    Check(
        "conf",
        _conf,
        "HMS_CONF must be a YAML mapping in a directory (not a single mounted file) the agent may write",
    ),
    Check("state", _state, "mount a writable directory that outlives the agent at HMS_STATE"),
    Check("trust", _trust, "put the trust file of your control plane at HMS_TRUST"),
    Check("render", _render, "HMS_RENDER is template:target; every {{gap}} needs a key in conf.yml"),
    Check(
        "process",
        _process,
        "start the service; share the PID namespace; same user; see HMS_PIDFILE and HMS_PROCESS",
    ),
    Check("redis", _redis, "is HMS_REDIS_URL right, and may this user do get, subscribe, ping and xadd?"),
    Check("mgt", _mgt, "is HMS_MGT_URL right, and is HMS_TOKEN a token for this tenant?"),
    Check("check", _check_command, "run HMS_CHECK by hand on the live file; {conf} and {rendered} become paths"),
    Check("probe", _probe, "ask HMS_PROBE_URL by hand: it must show HMS_PROBE_HEADER with the value in conf.yml"),
)
