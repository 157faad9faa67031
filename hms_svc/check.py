"""`hms-svc check`: is everything in place? Each finding as it comes, in words or all as JSON, with a hint what to do.

Each check is a function of the settings that gives the words for "ok" or raises with the words for "not". Nothing is
changed: no reload, no signal, no lock, no entry in Redis; no write besides a scratch file in the directories the agent
will write to. A word on stderr says so when one takes its time.
"""

import json
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType
from typing import NamedTuple

from hms_svc import check_files, check_network, check_process
from hms_svc.cli import FAILED, OK, output_form, within
from hms_svc.conf_file import words as words_of
from hms_svc.settings import Settings, read

PATIENCE_SECONDS = 2.0
LOOK_SECONDS = 12.0  # a command has 10
NETWORK_SECONDS = 6.0


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
    seconds: float = LOOK_SECONDS


def examine(settings: Settings, begin: Callable[[str], None]) -> Iterator[Finding]:
    """Look at everything; nothing that is wrong keeps the rest from being looked at. `begin` is told each name."""
    for check in CHECKS:
        begin(check.name)
        yield _examine(check, settings)


def _examine(check: Check, settings: Settings) -> Finding:
    try:
        return Finding(check.name, True, within(check.seconds, lambda: check.look(settings)), "")
    except OSError as error:
        return Finding(check.name, False, words_of(error), check.hint)
    except Exception as error:  # noqa: BLE001 - whatever it is, the newcomer should read it
        return Finding(check.name, False, str(error), check.hint)


CHECKS: Sequence[Check] = (
    Check(
        "conf",
        check_files.conf,
        "HMS_CONF must be a YAML mapping in a directory (not a single mounted file) the agent may write, "
        "with the owner the agent runs as",
    ),
    Check("state", check_files.state, "mount a writable directory that outlives the agent at HMS_STATE"),
    Check("space", check_files.space, "make room on that disk: what cannot be written down must not be applied"),
    Check(
        "trust",
        check_files.trust,
        "put the control plane's trust file at HMS_TRUST: the one this instance pinned, or one signed by its keys",
    ),
    Check("render", check_files.render, "HMS_RENDER is template:target; every {{gap}} needs a key in conf.yml"),
    Check(
        "process",
        check_process.process,
        "start the service; share the PID namespace; same user; see HMS_PIDFILE, HMS_PROCESS and HMS_SIGNAL",
    ),
    Check(
        "redis",
        check_network.redis,
        "is HMS_REDIS_URL right, and may this user do what it says? `hms-mgt redis-acl` prints the rule",
        NETWORK_SECONDS,
    ),
    Check(
        "mgt",
        check_network.mgt,
        "is HMS_MGT_URL right, and is HMS_TOKEN a token for this tenant?",
        NETWORK_SECONDS,
    ),
    Check(
        "check",
        check_process.check_command,
        "run HMS_CHECK by hand on the live file; {conf} and {rendered} become paths",
    ),
    Check(
        "probe",
        check_process.probe,
        "ask by hand what HMS_PROBE_URL, _TCP or _COMMAND asks: it must show what conf.yml says",
    ),
    Check("listen", check_network.listen, "choose another port at HMS_LISTEN, or end what has this one"),
    Check("clock", check_network.clock, "set the clock of this machine (NTP): windows go by it"),
)


class Progress:
    """Says what is being looked at when that takes longer than people like to wait in silence."""

    def __init__(self) -> None:
        self._name = ""
        signal.signal(signal.SIGALRM, self._say)

    def begin(self, name: str) -> None:
        """The next check begins."""
        self._name = name
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_SECONDS, PATIENCE_SECONDS)

    def end(self) -> None:
        """All are done."""
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _say(self, _number: int, _frame: FrameType | None) -> None:
        sys.stderr.write(f"...  {self._name:<8} still looking\n")


def check(environ: Mapping[str, str], words: Sequence[str]) -> int:
    """Look at everything and tell; the result is the exit code."""
    as_json, flags = output_form(words)
    settings = read(environ, flags)
    progress = Progress()
    findings = []
    for finding in examine(settings, progress.begin):
        findings.append(finding)
        if not as_json:
            sys.stdout.write(_folded(finding.line(), 14) + _folded(finding.advice(), 11))
            sys.stdout.flush()
    progress.end()
    fine = all(finding.fine for finding in findings)
    if as_json:
        sys.stdout.write(_json(findings, fine=fine))
    return OK if fine else FAILED


def _folded(line: str, indent: int) -> str:
    """As wide as the terminal; in a pipe it stays one line, for grep."""
    if not line or not sys.stdout.isatty():
        return line
    import shutil  # noqa: PLC0415 - only where people read
    import textwrap  # noqa: PLC0415 - as above

    width = shutil.get_terminal_size().columns
    folded = textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
    return "\n".join(folded) + "\n"


def _json(findings: Sequence[Finding], *, fine: bool) -> str:
    checks = [{"name": one.name, "ok": one.fine, "words": one.words, "hint": one.hint} for one in findings]
    return json.dumps({"ok": fine, "checks": checks}, indent=2) + "\n"
