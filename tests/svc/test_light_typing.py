"""The stand-in for `typing` makes the same records as typing does, and gives way when more is wanted."""

import importlib
import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import hms_svc

# Where development installs and test runners are not: nothing has loaded typing yet.
PATHS = os.pathsep.join(str(Path(module.__file__ or "").parents[1]) for module in (hms_svc, yaml))
LOOK = f"""
import sys
sys.path[:0] = {PATHS.split(os.pathsep)!r}
import hms_svc.light_typing
"""
stands_in = pytest.mark.skipif(sys.version_info >= (3, 14), reason="typing is loaded as ever there")


def alone(code: str) -> str:
    """What a fresh interpreter without `site` says."""
    return subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True).stdout


def records() -> dict[str, Any]:
    """Every record of the sidecar: fields, defaults, words, and what it can do."""
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(hms_svc.__path__):
        if module.name == "__main__":
            continue
        for name, one in vars(importlib.import_module(f"hms_svc.{module.name}")).items():
            kind: Any = one
            if isinstance(kind, type) and issubclass(kind, tuple) and hasattr(kind, "_fields"):
                can = sorted(member for member in vars(kind) if member not in LEFT_OUT)
                found[f"{kind.__module__}.{name}"] = [
                    kind._fields,
                    [repr(one).partition(" at ")[0] for one in getattr(kind, "_field_defaults", {}).values()],
                    kind.__doc__,
                    can,
                ]
    return found


# What Python and typing put there of their own accord.
LEFT_OUT = {"__orig_bases__", "__annotations__", "__static_attributes__", "__firstlineno__", "__classcell__"}


@stands_in
def test_records_are_the_same_under_both() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    body = source[source.index("def records()") : source.index("@stands_in\n")]
    code = f"{LOOK}\nimport importlib, json, pkgutil\nfrom typing import Any\nimport hms_svc\n{body}\n"
    told = json.loads(alone(code + "print(json.dumps(records()))"))
    assert len(told) > 20
    assert told == json.loads(json.dumps(records()))


@stands_in
def test_a_record_works_as_one() -> None:
    code = f"""{LOOK}
from hms_svc.course import Failure
one = Failure("checked", "words")
print(one._replace(hasty=True), one == ("checked", "words", False, False), Failure.__name__, Failure.__module__)
"""
    assert alone(code).split("\n")[0] == (
        "Failure(stage='checked', detail='words', surroundings=False, hasty=True) True Failure hms_svc.course"
    )


@stands_in
def test_it_gives_way_to_whoever_wants_more() -> None:
    assert alone(f"{LOOK}\nimport typing\nprint(typing.get_type_hints.__module__, sys.modules['typing'].__name__)") == (
        "typing typing\n"
    )


def test_where_typing_is_loaded_nothing_happens() -> None:
    importlib.import_module("hms_svc.light_typing")
    assert hasattr(sys.modules["typing"], "__file__")
