"""Asks the served process whether it works with the new configuration: APPLIED means in effect, not written.

What counts: with HMS_PROBE_HEADER, that header with the value the effective document says, whatever the
status (a rate limiter may refuse the probe itself and still show its limit); without it, any answer below
500. Just after a reload old and new workers answer in turn, so the caller asks again over fresh connections.
"""

from typing import Any, NamedTuple

from hms_svc import http
from hms_svc.address import HttpAddress
from hms_svc.template import TemplateError, fill_text

TIMEOUT_SECONDS = 2.0


class Question(NamedTuple):
    """What to ask and the header expected in the answer (None: any good answer)."""

    address: HttpAddress
    header: tuple[str, str] | None


class Answer(NamedTuple):
    """Whether the process shows the new configuration, whether it answered at all, and words for a report."""

    matches: bool
    answered: bool
    words: str


def question(address: HttpAddress, header: tuple[str, str] | None, document: dict[str, Any]) -> Question:
    """The question for one effective document. A gap the document has no value for leaves nothing to compare."""
    if header is None:
        return Question(address, None)
    name, value = header
    try:
        return Question(address, (name, fill_text(value, document)))
    except TemplateError:
        return Question(address, None)


def ask(asked: Question) -> Answer:
    """One request over a connection of its own; blocks up to `TIMEOUT_SECONDS`, so ask from an errand."""
    try:
        response = http.get(asked.address, asked.address.path, {}, TIMEOUT_SECONDS, 0)
    except http.HttpError as error:
        return Answer(False, False, f"no answer from the probe: {error}")
    return judge(asked, response)


def judge(asked: Question, response: http.Response) -> Answer:
    """Compare an answer with what is expected."""
    if asked.header is None:
        return Answer(response.status < 500, True, f"the probe answers status {response.status}")
    name, expected = asked.header
    found = response.headers.get(name)
    if found == expected:
        return Answer(True, True, f"{name}: {found}")
    shown = "no such header" if found is None else repr(found[:100])
    return Answer(False, True, f"the probe shows {shown} for {name}, expected {expected!r} (status {response.status})")
