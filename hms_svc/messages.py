"""What travels between MGT and the agents, read with suspicion and built with the same words.

Every declared field's type and range is checked, whoever signed it, so that nothing after this point has to:
reading raises `Refused` and nothing else. Fields this version does not know are ignored, for an older agent
must read a newer control plane's messages. Time is not looked at here: windows and expiry are `layers`'
business, replay is the agent's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from hms_svc.merge import MAX_DEPTH, expand
from hms_svc.selector import parse_selector
from hms_svc.wire import ADMIT_ALL, DECISION, STREAM, Reason, Refused, bare, instant, rfc3339, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from hms_svc.trust import Trust

VERSION = 1
MAX_PATCHES = 512
"""The most patches one message carries."""
MAX_NAMES = 4096
"""The most ids a delta ends, and the most streams a heartbeat lists."""
MAX_ID = 2**63 - 1
MAX_PRIORITY = 2**31 - 1
MAX_KEY_CHARS = 128
"""The longest key in a patch's changes: YAML reads a `key:` of 1,024 characters, escapes included."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_T = TypeVar("_T")


class Patch(NamedTuple):
    """One approved patch as an agent holds it: instants in epoch seconds, changes nested, never dotted."""

    id: int
    tenant: str
    service: str
    selector: str
    changes: dict[str, Any]
    start: float
    end: float | None
    expires: float | None
    priority: int
    order: int
    admit_below: int
    envelope: dict[str, Any]
    """GOV's decision as it was signed, so that a journal can keep the proof."""


class StreamMessage(NamedTuple):
    """One word of a stream.

    A snapshot's patches are the whole desired state; a delta's are put, and its `ended` dropped.
    """

    kind: Literal["snapshot", "delta"]
    tenant: str
    service: str
    revision: int
    previous: int
    issued: float
    patches: tuple[Patch, ...]
    ended: tuple[int, ...]


class Heartbeat(NamedTuple):
    """MGT's sign of life: the head revision of each of the tenant's streams."""

    tenant: str
    issued: float
    heads: dict[str, int]


# --- reading ------------------------------------------------------------------------------------------------


def read_message(raw: bytes | str, trust: Trust, tenant: str) -> StreamMessage | Heartbeat:
    """Verify and read one message of the tenant's channel or snapshot.

    Raises:
        Refused: anything about it, or about one decision in it, is off.
    """
    fields = _Fields(unseal(raw, STREAM, trust.mgt))
    fields.version()
    fields.expect("tenant", tenant, "wrong_tenant")
    kind = fields.text("kind")
    if kind == "heartbeat":
        return Heartbeat(tenant, fields.instant("issued"), _heads(fields))
    if kind in ("snapshot", "delta"):
        return _stream_message(fields, kind, trust, tenant)
    raise Refused("unsupported", f"a message of kind {kind[:64]!r}")


def _heads(fields: _Fields) -> dict[str, int]:
    heads = fields.mapping("heads")
    if len(heads) > MAX_NAMES:
        raise Refused("malformed", f"heads: at most {MAX_NAMES} streams")
    named = _Fields(heads, "heads.")
    return {_name(service, "heads"): named.integer(service, 0, MAX_ID) for service in heads}


def _stream_message(fields: _Fields, kind: Any, trust: Trust, tenant: str) -> StreamMessage:
    service = _name(fields.text("service"), "service")
    revision = fields.integer("revision", 1, MAX_ID)
    message = StreamMessage(
        kind=kind,
        tenant=tenant,
        service=service,
        revision=revision,
        previous=fields.integer("previous", 0, revision - 1),
        issued=fields.instant("issued"),
        patches=tuple(read_entry(e, trust, tenant, service) for e in fields.items("patches", MAX_PATCHES)),
        ended=_ended(fields) if kind == "delta" else (),
    )
    _once(message)
    return message


def _ended(fields: _Fields) -> tuple[int, ...]:
    return tuple(_integer(e, "ended", 1, MAX_ID) for e in fields.items("ended", MAX_NAMES))


def _once(message: StreamMessage) -> None:
    ids = [*(patch.id for patch in message.patches), *message.ended]
    if len(set(ids)) != len(ids):
        raise Refused("malformed", "a patch stands twice in one message")


def read_entry(entry: object, trust: Trust, tenant: str, service: str) -> Patch:
    """Verify and read one patch of a stream message, or of a journal that kept it.

    Raises:
        Refused: the entry or its decision is off, or is not for this tenant and service.
    """
    if not isinstance(entry, dict):
        raise Refused("malformed", "patches: want objects")
    outer = _Fields(entry, "patches[].")
    envelope = outer.mapping("decision")
    fields = _Fields(unseal(envelope, DECISION, trust.gov), "decision.")
    fields.version()
    fields.expect("tenant", tenant, "wrong_tenant")
    fields.expect("service", service, "wrong_service")
    fields.expect("verdict", "allow", "denied")
    _read_evidence(fields)
    start, end = _window(fields)
    return Patch(
        id=fields.integer("patch_id", 1, MAX_ID),
        tenant=tenant,
        service=service,
        selector=fields.valid("version_selector", lambda text: parse_selector(text).text),
        changes=_changes(fields),
        start=start,
        end=end,
        expires=fields.optional_instant("expires"),
        priority=fields.integer("priority", 0, MAX_PRIORITY),
        order=outer.integer("order", 0, MAX_ID),
        admit_below=outer.integer("admit_below", 0, ADMIT_ALL),
        envelope=bare(envelope),
    )


def _read_evidence(fields: _Fields) -> None:
    """What a decision carries for auditors: not used here, but a wrong type still means a broken signer."""
    fields.text("decision_id")
    fields.text("policy_revision")
    fields.instant("issued")
    for name in ("reasons", "obligations"):
        fields.items(name, MAX_NAMES)


def _window(fields: _Fields) -> tuple[float, float | None]:
    window = _Fields(fields.mapping("window"), "decision.window.")
    start, end = window.instant("start"), window.optional_instant("end")
    if end is not None and end <= start:
        raise Refused("malformed", "decision.window: it ends before it starts")
    return start, end


def _changes(fields: _Fields) -> dict[str, Any]:
    raw = fields.mapping("changes")
    try:
        _check_document(raw, MAX_DEPTH)
        nested = expand(raw)
        _check_document(nested, MAX_DEPTH)
    except ValueError as error:
        raise Refused("malformed", f"decision.changes: {error}") from None
    return nested


def _check_document(value: Any, depth: int) -> None:
    """Hold JSON to what a YAML file can say back: Unicode text, keys of a sane length, bounded nesting."""
    if not isinstance(value, dict | list):
        _check_scalar(value)
        return
    if depth == 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, dict):
        for key in value:
            _check_key(key)
    for item in value.values() if isinstance(value, dict) else value:
        _check_document(item, depth - 1)


def _check_scalar(value: Any) -> None:
    if isinstance(value, str):
        value.encode()
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("a whole number beyond 64 bits")


def _check_key(key: str) -> None:
    key.encode()
    if "\0" in key:
        raise ValueError("a key holds no NUL")
    if len(key) > MAX_KEY_CHARS:
        raise ValueError(f"a key is at most {MAX_KEY_CHARS} characters")


def _name(text: str, where: str) -> str:
    if not _NAME.fullmatch(text):
        raise Refused("malformed", f"{where}: {text[:64]!r} is not a service's name")
    return text


def _integer(value: object, where: str, low: int, high: int) -> int:
    if type(value) is not int:  # a bool is an int to Python, never to us
        raise Refused("malformed", f"{where}: want a whole number")
    if not low <= value <= high:
        raise Refused("malformed", f"{where}: want a number from {low} to {high}")
    return value


class _Fields:
    """Typed access to one object's fields; whatever is missing or wrong is a refusal that names the field."""

    def __init__(self, values: Mapping[str, Any], prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix

    def version(self) -> None:
        if self.integer("v", 0, MAX_ID) != VERSION:
            raise Refused("unsupported", f"{self._prefix}v: this agent reads version {VERSION}")

    def expect(self, name: str, wanted: str, reason: Reason) -> None:
        if self.text(name) != wanted:
            raise Refused(reason, f"{self._prefix}{name}: want {wanted!r}")

    def text(self, name: str) -> str:
        return self._typed(name, str, "text")

    def mapping(self, name: str) -> dict[str, Any]:
        return self._typed(name, dict, "an object")

    def items(self, name: str, limit: int) -> list[Any]:
        found = self._typed(name, list, "a list")
        if len(found) > limit:
            raise Refused("malformed", f"{self._prefix}{name}: at most {limit} items")
        return found

    def integer(self, name: str, low: int, high: int) -> int:
        return _integer(self._values.get(name), self._prefix + name, low, high)

    def instant(self, name: str) -> float:
        return self.valid(name, instant)

    def optional_instant(self, name: str) -> float | None:
        """An instant or null; leaving the field out is not a way to say null."""
        if name in self._values and self._values[name] is None:
            return None
        return self.instant(name)

    def valid(self, name: str, read: Callable[[str], _T]) -> _T:
        text = self.text(name)
        try:
            return read(text)
        except ValueError as error:
            raise Refused("malformed", f"{self._prefix}{name}: {error}") from None

    def _typed(self, name: str, kind: type[_T], words: str) -> _T:
        value = self._values.get(name)
        if not isinstance(value, kind):
            raise Refused("malformed", f"{self._prefix}{name}: want {words}")
        return value


# --- building -----------------------------------------------------------------------------------------------


def entry(
    order: int,
    admit_below: int,
    decision_envelope: dict[str, Any],
    approvals: Iterable[Mapping[str, str]] = (),
) -> dict[str, Any]:
    """One patch of a stream message.

    `approvals` are the people who approved it, as approver, role and instant. They are signed with the message, and
    are not there where nobody was asked.
    """
    fields: dict[str, Any] = {"order": order, "admit_below": admit_below, "decision": decision_envelope}
    said = sorted((dict(one) for one in approvals), key=lambda one: one["approver"])
    return fields | {"approvals": said} if said else fields


def snapshot_payload(
    tenant: str, service: str, revision: int, issued: float, patches: Iterable[dict[str, Any]]
) -> dict[str, Any]:
    """The payload of a stream's whole desired state; `patches` are entries."""
    return {
        "v": VERSION,
        "kind": "snapshot",
        "tenant": tenant,
        "service": service,
        "revision": revision,
        "previous": revision - 1,
        "issued": rfc3339(issued),
        "patches": list(patches),
    }


def delta_payload(  # noqa: PLR0913, PLR0917 - the payload's own fields
    tenant: str,
    service: str,
    revision: int,
    issued: float,
    patches: Iterable[dict[str, Any]],
    ended: Iterable[int],
) -> dict[str, Any]:
    """The payload of the step from the revision before: entries to put, and the ids to drop."""
    whole = snapshot_payload(tenant, service, revision, issued, patches)
    return whole | {"kind": "delta", "ended": list(ended)}


def heartbeat_payload(tenant: str, issued: float, heads: Mapping[str, int]) -> dict[str, Any]:
    """The payload of MGT's sign of life."""
    return {
        "v": VERSION,
        "kind": "heartbeat",
        "tenant": tenant,
        "issued": rfc3339(issued),
        "heads": dict(heads),
    }


def advance(held: Mapping[int, Patch], message: StreamMessage) -> dict[int, Patch]:
    """The patches held after the message, by id."""
    put = {patch.id: patch for patch in message.patches}
    if message.kind == "snapshot":
        return put
    return {number: patch for number, patch in held.items() if number not in message.ended} | put
