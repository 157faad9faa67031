"""The body of POST /decisions and of POST /evaluations: what HMS-MGT asks, read strictly.

Governance signs what it read, so nothing is guessed or coerced: a number in quotes is not a number, an
instant needs its zone, and what JSON cannot say again (NaN, 1e999, a lone surrogate) is refused. Fields
this service does not know are passed on to the policy and never signed. The words an author meets are
MGT's; the errors here speak to the engineer of the calling service, as JSON pointers.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
    model_validator,
)

from hms_svc import wire

MAX_DEPTH = 32  # the YAML profile of both ends; the engine's own parser recurses
SECONDS_PER_DAY = 86_400


def _instant(text: str) -> str:
    """The text itself, if it is an instant that can also be written in UTC."""
    try:
        wire.rfc3339(wire.instant(text))
    except OverflowError as error:
        raise ValueError("no such moment") from error
    return text


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$")]
Instant = Annotated[str, AfterValidator(_instant)]


class Window(BaseModel):
    """Half-open [start, end); without an end the patch stands until someone ends it.

    The texts stay as they were asked, because the caller checks that the decision repeats them.
    """

    model_config = ConfigDict(strict=True, extra="forbid")

    start: Instant
    end: Instant | None = None

    @model_validator(mode="after")
    def _forward(self) -> "Window":
        if self.days is not None and self.days <= 0:
            raise ValueError("the window ends before it starts")
        return self

    @property
    def days(self) -> float | None:
        """How long it lasts; None without an end."""
        if self.end is None:
            return None
        return (wire.instant(self.end) - wire.instant(self.start)) / SECONDS_PER_DAY


class Question(BaseModel):
    """One patch as governance sees it."""

    model_config = ConfigDict(strict=True, extra="allow")

    patch_id: int = Field(ge=1)
    tenant: Name
    service: Name
    version_selector: str = Field(min_length=1, max_length=256)
    changes: dict[str, JsonValue]
    window: Window
    priority: int = 0
    author: str
    author_role: str
    reason: str | None = None
    break_glass: bool = False

    @field_validator("changes")
    @classmethod
    def _sayable(cls, changes: dict[str, JsonValue]) -> dict[str, JsonValue]:
        _check(changes, MAX_DEPTH)
        return changes

    @model_validator(mode="after")
    def _extras_sayable(self) -> "Question":
        _check(self.model_extra or {}, MAX_DEPTH)
        return self

    def for_policy(self) -> dict[str, Any]:
        """The policy's `input`.

        Instants end in +00:00 because the engine's time.parse_rfc3339_ns does not read Z. `window.days` is
        null for a window without an end. A reason not given is "", so a rule can treat it as text.
        """
        document = self.model_dump(exclude={"window"})
        return document | {"reason": self.reason or "", "window": _for_policy(self.window)}


class Supposition(Question):
    """A patch that need not exist yet, for POST /evaluations: its id may be 0, which no decision can carry."""

    patch_id: int = Field(ge=0)


def _for_policy(window: Window) -> dict[str, Any]:
    end = None if window.end is None else _offset(window.end)
    return {"start": _offset(window.start), "end": end, "days": window.days}


def _offset(instant: str) -> str:
    return wire.rfc3339(wire.instant(instant)).removesuffix("Z") + "+00:00"


def _check(value: Any, depth: int) -> None:
    if depth < 0:
        raise ValueError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("not a finite number")
    if isinstance(value, Mapping):
        value = [*value.values()]
    if isinstance(value, list):
        for part in value:
            _check(part, depth - 1)
