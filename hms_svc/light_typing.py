"""Stands in for `typing` where the sidecar runs: names that only a type checker reads would cost every pod 0.8 MiB.

Importing this module puts the stand-in in place, so `hms-svc` imports it first. Where typing is loaded already nothing
happens, and who asks for a name that is not here gets the real module. NamedTuple is the one name that does something:
it makes classes from `collections.namedtuple`, as typing's does. From Python 3.14 on a class keeps its annotations in
another way, and typing is loaded as ever.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OURS = ("__module__", "__qualname__", "__annotations__")


class _Fields(type):
    """Makes a subclass of NamedTuple a named tuple, with the methods and the defaults it was written with."""

    def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, body)
        fields = body.get("__annotations__", {})
        defaults = [body[field] for field in fields if field in body]
        made: type = namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # type: ignore[misc] # noqa: PYI024 - it is what we are
        for key, value in body.items():
            if key not in fields and key not in _OURS:
                setattr(made, key, value)
        return made


class _NamedTuple(metaclass=_Fields):
    """Gives its subclasses their metaclass."""


class _Silent(type):
    """A name in an annotation: it may be given parameters, and stays what it is."""

    def __getitem__(cls, _: object) -> type:
        return cls


class _Name(metaclass=_Silent):
    """Any name that says something to a type checker only."""


class _Generic:
    """A base whose parameters are dropped."""

    def __class_getitem__(cls, _: object) -> type:
        return cls


def _type_var(*_: object, **__: object) -> type:
    return object


def _the_real(name: str) -> Any:
    """Give way to typing itself, for somebody wants more of it. The import system asks for names of its own."""
    if name.startswith("__"):
        raise AttributeError(name)
    sys.modules.pop("typing", None)
    import typing  # noqa: PLC0415 - the point of it

    return getattr(typing, name)


def _stand_in() -> ModuleType:
    module = ModuleType("typing")
    silent = ("Any", "Literal", "NoReturn", "Self", "SupportsBytes", "TypeAlias")
    names: dict[str, object] = dict.fromkeys(silent, _Name)
    names |= {"NamedTuple": _NamedTuple, "Generic": _Generic, "TypeVar": _type_var, "TYPE_CHECKING": False}
    vars(module).update(names, __getattr__=_the_real)
    return module


if sys.version_info < (3, 14):
    sys.modules.setdefault("typing", _stand_in())
