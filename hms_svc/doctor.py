"""Is everything in place? The list of what `hms-svc check` looks at, each thing with a hint for when it is not.

Each check is a function of the settings that gives the words for "ok" or raises with the words for "not". Nothing is
changed: no reload, no signal, no lock, no entry in Redis; no write besides a scratch file in the directories the agent
will write to.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from hms_svc import doctor_files, doctor_reach, doctor_service
from hms_svc.settings import Settings


class Finding(NamedTuple):
    """The result of one check."""

    name: str
    fine: bool
    words: str
    hint: str

    def line(self) -> str:
        """The line people read."""
        return f"{'ok  ' if self.fine else 'FAIL'} {self.name:<8} {' '.join(self.words.split())}\n"

    def advice(self) -> str:
        """The line below it, when something is to be done."""
        return "" if self.fine else f"     hint: {self.hint}\n"


class Check(NamedTuple):
    """One thing to look at."""

    name: str
    look: Callable[[Settings], str]
    hint: str


def examine(settings: Settings, begin: Callable[[str], None]) -> Iterator[Finding]:
    """Look at everything; nothing that is wrong keeps the rest from being looked at. `begin` is told each name."""
    for check in CHECKS:
        begin(check.name)
        yield _examine(check, settings)


def _examine(check: Check, settings: Settings) -> Finding:
    try:
        return Finding(check.name, True, check.look(settings), "")
    except OSError as error:
        words = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
        return Finding(check.name, False, words, check.hint)
    except Exception as error:  # noqa: BLE001 - whatever it is, the newcomer should read it
        return Finding(check.name, False, str(error), check.hint)


CHECKS: Sequence[Check] = (
    Check(
        "conf",
        doctor_files.conf,
        "HMS_CONF must be a YAML mapping in a directory (not a single mounted file) the agent may write, "
        "with the owner the agent runs as",
    ),
    Check("state", doctor_files.state, "mount a writable directory that outlives the agent at HMS_STATE"),
    Check("space", doctor_files.space, "make room on that disk: what cannot be written down must not be applied"),
    Check(
        "trust",
        doctor_files.trust,
        "put the control plane's trust file at HMS_TRUST: the one this instance pinned, or one signed by its keys",
    ),
    Check("render", doctor_files.render, "HMS_RENDER is template:target; every {{gap}} needs a key in conf.yml"),
    Check(
        "process",
        doctor_service.process,
        "start the service; share the PID namespace; same user; see HMS_PIDFILE, HMS_PROCESS and HMS_SIGNAL",
    ),
    Check(
        "redis",
        doctor_reach.redis,
        "is HMS_REDIS_URL right, and may this user do what it says? `hms-mgt redis-acl` prints the rule",
    ),
    Check("mgt", doctor_reach.mgt, "is HMS_MGT_URL right, and is HMS_TOKEN a token for this tenant?"),
    Check(
        "check",
        doctor_service.check_command,
        "run HMS_CHECK by hand on the live file; {conf} and {rendered} become paths",
    ),
    Check(
        "probe",
        doctor_service.probe,
        "ask by hand what HMS_PROBE_URL, _TCP or _COMMAND asks: it must show what conf.yml says",
    ),
    Check("listen", doctor_reach.listen, "choose another port at HMS_LISTEN, or end what has this one"),
    Check("clock", doctor_reach.clock, "set the clock of this machine (NTP): windows go by it"),
)
