"""Asks the served process whether it works with the new configuration: APPLIED means in effect, not written.

What counts is what `evidence` asks for. An HTTP answer must show the status, the header and the text that are set (with
a header or a text alone, whatever the status: a rate limiter may refuse the probe itself and still show its limit);
without any of them, an answer below 500 will do. TCP counts once a connection is accepted, a command once it ends with
exit code 0. Just after a reload old and new workers answer in turn, so the caller asks again over fresh connections.
"""

from typing import Any, NamedTuple

from hms_svc import command, http, tcp
from hms_svc.address import HttpAddress
from hms_svc.evidence import Evidence, Unaskable
from hms_svc.scarcity import scarce

TIMEOUT_SECONDS = 2.0
COMMAND_SECONDS = 5.0
BODY_BYTES = 65_536
SHOWN = 100
WORST_GOOD_STATUS = 499


class Question(NamedTuple):
    """What to ask for one effective document, or why that cannot be asked."""

    evidence: Evidence
    unaskable: str = ""


class Answer(NamedTuple):
    """Whether the process shows the new configuration, whether it answered at all, and words for a report.

    `scarce`: it could not be asked, for we lacked descriptors or the like; that says nothing about it.
    """

    matches: bool
    answered: bool
    words: str
    scarce: bool = False


def question(evidence: Evidence, values: dict[str, Any], conf: str) -> Question:
    """The question for one effective document; `conf` is the path that stands for {conf} in a command."""
    try:
        return Question(evidence.filled(values, conf))
    except Unaskable as error:
        return Question(evidence, str(error))


def ask(asked: Question) -> Answer:
    """Ask once, over a connection or by a process of its own; blocks for seconds, so ask from an errand."""
    evidence = asked.evidence
    if asked.unaskable:
        return Answer(False, True, asked.unaskable)
    if evidence.tcp:
        return _connect(*evidence.tcp)
    return _get(evidence.url, evidence) if evidence.url else _run(evidence.command)


def _connect(host: str, port: int) -> Answer:
    try:
        tcp.connect(host, port, TIMEOUT_SECONDS).close()
    except OSError as error:
        return Answer(False, False, f"no connection to {host}:{port}: {error.strerror or error}", scarce(error))
    return Answer(True, True, f"{host}:{port} accepts connections")


def _run(argv: tuple[str, ...]) -> Answer:
    """A command that fails is an answer: it was asked, and it said no."""
    try:
        result = command.run(argv, COMMAND_SECONDS)
    except OSError as error:
        return Answer(False, True, f"cannot run the probe {argv[0]}: {error.strerror}", scarce(error))
    if result.code is None:
        return Answer(False, True, f"no verdict of the probe {argv[0]} within {COMMAND_SECONDS:g} s")
    return Answer(result.code == 0, True, result.words or f"the probe {argv[0]} ends with {result.code}")


def _get(url: HttpAddress, evidence: Evidence) -> Answer:
    limit = 0 if evidence.body is None else BODY_BYTES
    try:
        response = http.get(url, url.path, {}, TIMEOUT_SECONDS, limit)
    except http.HttpError as error:
        return Answer(False, False, f"no answer from the probe: {error}", error.scarce)
    return judge(evidence, response)


def judge(evidence: Evidence, response: http.Response) -> Answer:
    """Compare an answer with what is expected; all that is must be there."""
    asks_more = evidence.header is not None or evidence.body is not None
    ranges = evidence.status or (() if asks_more else ((100, WORST_GOOD_STATUS),))
    if ranges and not any(low <= response.status <= high for low, high in ranges):
        return Answer(False, True, f"the probe answers status {response.status}{_expected(evidence.status)}")
    for missing in (_header(evidence, response), _body(evidence, response)):
        if missing:
            return Answer(False, True, f"{missing} (status {response.status})")
    return Answer(True, True, _seen(evidence, response))


def _expected(ranges: tuple[tuple[int, int], ...]) -> str:
    words = ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)
    return f", expected {words}" if words else ""


def _header(evidence: Evidence, response: http.Response) -> str:
    if evidence.header is None:
        return ""
    name, expected = evidence.header
    found = response.headers.get(name)
    if found == expected:
        return ""
    shown = "no such header" if found is None else repr(found[:SHOWN])
    return f"the probe shows {shown} for {name}, expected {expected!r}"


def _body(evidence: Evidence, response: http.Response) -> str:
    """The body itself is not repeated: it may hold anything."""
    if evidence.body is None or evidence.body.encode() in response.body:
        return ""
    return f"the probe's answer does not contain {evidence.body[:SHOWN]!r}"


def _seen(evidence: Evidence, response: http.Response) -> str:
    header = f"{evidence.header[0]}: {evidence.header[1]}" if evidence.header else ""
    body = f"contains {evidence.body[:SHOWN]!r}" if evidence.body is not None else ""
    status = "" if (header or body) and not evidence.status else f"the probe answers status {response.status}"
    return ", ".join(filter(None, (status, header, body)))
