"""What the operator accepts as evidence of effect: read out of the settings, and filled for one document.

Of HTTP, TCP and a command exactly one may be set. Over HTTP a status, a header and a text of the body can be asked for,
and all that are must match. Gaps are filled from the effective document. A patch may delete a gap's key: then that
part has nothing to compare and is not asked for, and a command gets an empty argument in its place.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from hms_svc.address import HttpAddress, SettingsError, http_address

KINDS = ("HMS_PROBE_URL", "HMS_PROBE_TCP", "HMS_PROBE_COMMAND")
OF_HTTP = ("HMS_PROBE_STATUS", "HMS_PROBE_HEADER", "HMS_PROBE_BODY")
# `{{conf}}` is a gap and no place for the path.
_CONF = re.compile(r"(?<!\{)\{conf\}(?!\})")


class Unaskable(ValueError):
    """A value of the document cannot be put into the probe's command; the text says why."""


class Evidence(NamedTuple):
    """Whom to ask (one of url, tcp, command) and what an HTTP answer must show; None and () ask for nothing."""

    url: HttpAddress | None = None
    status: tuple[tuple[int, int], ...] = ()
    header: tuple[str, str] | None = None
    body: str | None = None
    tcp: tuple[str, int] | None = None
    command: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """Whom we ask, for people."""
        if self.tcp:
            return f"{self.tcp[0]}:{self.tcp[1]}"
        return self.url.shown if self.url else self.command[0]

    @property
    def shows_values(self) -> bool:
        """Whether anything is asked for that comes from the document."""
        return any("{{" in text for text in ((self.header or ("", ""))[1], self.body or "", *self.command))

    def filled(self, values: dict[str, Any], conf: str) -> "Evidence":
        """The same with its gaps filled; Unaskable when a value must not stand in a command."""
        name, value = self.header or ("", "")
        expected = _text(value, values)
        return self._replace(
            header=(name, expected) if self.header and expected is not None else None,
            body=None if self.body is None else _text(self.body, values),
            command=tuple(_argument(_CONF.sub(lambda _: conf, item), values) for item in self.command),
        )


def _text(text: str, values: dict[str, Any]) -> str | None:
    """A text to compare with, where any value may stand; None where a gap has no value to show."""
    from hms_svc.template import TemplateError, fill_tree  # noqa: PLC0415 - settings are read before it is needed
    from hms_svc.wire import canonical  # noqa: PLC0415 - as above

    try:
        found = fill_tree(text, values)
    except TemplateError:
        return None
    if isinstance(found, bool | int | float):
        return canonical(found).decode()
    return found if isinstance(found, str) else None


def _argument(item: str, values: dict[str, Any]) -> str:
    """One argument. Beside other text (which may be a script's) a value may hold only what carries no syntax."""
    from hms_svc.template import NoValue, TemplateError, fill_text  # noqa: PLC0415 - as above

    if item.startswith("{{") and item.endswith("}}") and item.count("{{") == 1:
        return _text(item, values) or ""
    try:
        return fill_text(item, values)
    except NoValue:
        return ""
    except TemplateError as error:
        raise Unaskable(f"HMS_PROBE_COMMAND cannot be asked: {error.words}") from None


def read(given: Mapping[str, str], command: tuple[str, ...]) -> Evidence | None:
    """The evidence the settings ask for; SettingsError when they contradict each other."""
    kinds = [name for name in KINDS if given[name]]
    if len(kinds) > 1:
        raise SettingsError(f"{' and '.join(kinds)}: set one of them, for a probe asks in one way")
    for name in OF_HTTP:
        if given[name] and not given["HMS_PROBE_URL"]:
            raise SettingsError(f"{name} needs HMS_PROBE_URL: there is no answer to look at")
    if not kinds:
        return None
    url = given["HMS_PROBE_URL"]
    return Evidence(
        url=http_address("HMS_PROBE_URL", url) if url else None,
        status=_status(given["HMS_PROBE_STATUS"]),
        header=_header(given["HMS_PROBE_HEADER"]),
        body=given["HMS_PROBE_BODY"] or None,
        tcp=_tcp(given["HMS_PROBE_TCP"]),
        command=command,
    )


def _status(text: str) -> tuple[tuple[int, int], ...]:
    ranges = []
    for item in filter(None, text.split(",")):
        low, dash, high = item.strip().partition("-")
        ends = (low, high if dash else low)
        if not all(len(end) == 3 and end.isdecimal() and end.isascii() for end in ends) or ends[0] > ends[1]:
            raise SettingsError(f"HMS_PROBE_STATUS={text!r}: write 200, 200-299 or 200,204")
        ranges.append((int(ends[0]), int(ends[1])))
    return tuple(ranges)


def _header(text: str) -> tuple[str, str] | None:
    if not text:
        return None
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise SettingsError(f"HMS_PROBE_HEADER={text!r}: write `Name: value`")
    return name.strip().lower(), value.strip()


def _tcp(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    if "/" in text or not text.rpartition(":")[2].isdecimal():
        raise SettingsError(f"HMS_PROBE_TCP={text!r}: write host:port, e.g. 127.0.0.1:5432")
    place = http_address("HMS_PROBE_TCP", f"http://{text}")
    return place.host, place.port
