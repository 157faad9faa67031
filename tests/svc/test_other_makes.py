"""Libraries of another make, without the private parts the sidecar takes: it grows heavier, and answers the same."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import hms_svc

PATHS = os.pathsep.join(str(Path(module.__file__ or "").parents[1]) for module in (hms_svc, yaml))

# Each private part, and the public module that can do without it once it is loaded.
PARTS = {
    "nacl._sodium": "nacl.bindings",
    "_blake2": "nacl.bindings",
    "_datetime": "datetime",
    "yaml._yaml": "yaml",
}

ANSWERS = """
from hms_svc import sodium, wire, yaml_tree
key, message = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"), b"the market opens"
signature = bytes.fromhex(
    "{signature}"
)
print(sodium.verifies(key, message, signature), sodium.verifies(key, message + b"!", signature))
print(sodium.sha256(message), wire.key_id(key))
print(wire.rfc3339(1790000000.25), wire.instant("2026-11-23T14:00:00.5+01:00"))
print(yaml_tree.load("a: {b: [1, 'x', ~]}"))
try:
    yaml_tree.load("a: [1")
except yaml_tree.YamlError as error:
    print(error)
print("nacl.bindings" in sys.modules, "yaml.reader" in sys.modules)
"""


def hidden(*parts: str) -> str:
    """Code that takes these parts out of a fresh interpreter, as a release that renames them would."""
    lines = [f"import {PARTS[part]}, {part}; kept.append(sys.modules[{part!r}])" for part in parts]
    lines += [f"sys.modules[{part!r}] = None" for part in parts]
    return "\n".join(["import sys", "kept = []", *lines, ""])  # kept, for those who know them by the old name


def answers(*parts: str) -> list[str]:
    from nacl.signing import SigningKey  # noqa: PLC0415 - the agent's side has none of it

    signature = SigningKey(bytes(range(32))).sign(b"the market opens").signature.hex()
    code = hidden(*parts) + ANSWERS.replace("{signature}", signature)
    environment = os.environ | {"PYTHONPATH": PATHS}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


@pytest.mark.parametrize("parts", [*((part,) for part in PARTS), tuple(PARTS)], ids=" ".join)
def test_without_its_private_parts_it_answers_the_same(parts: tuple[str, ...]) -> None:
    usual, other = answers(), answers(*parts)
    assert usual[0] == "True False"
    assert usual[:-1] == other[:-1]
    assert usual[-1] == "False True"
