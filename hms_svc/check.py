"""`hms-svc check`: each finding as it comes, in words or all as JSON; a word on stderr when one takes its time."""

import json
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType

from hms_svc.doctor import Finding, examine
from hms_svc.exits import FAILED, OK
from hms_svc.output import output_form
from hms_svc.settings import read

PATIENCE_SECONDS = 2.0


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
