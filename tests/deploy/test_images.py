"""The Dockerfiles and their build script, read as text: who runs inside, what gets in, what stays out."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ("mgt", "svc")
Step = tuple[str, str]

# Imports modules as an image would: what is installed here but not locked for the image does not exist.
AS_IN_THE_IMAGE = """
import importlib, importlib.metadata, re, sys
locked = set(sys.argv[1].split(","))
owners = importlib.metadata.packages_distributions()
class OnlyLocked:
    def find_spec(self, name, path=None, target=None):
        found = {re.sub("[-_.]+", "-", owner).lower() for owner in owners.get(name.partition(".")[0], ())}
        if found and not found & locked:
            raise ModuleNotFoundError(f"{name} is not in the image's lock", name=name)
sys.meta_path.insert(0, OnlyLocked())
for module in sys.argv[2:]:
    importlib.import_module(module)
"""


def stages(image: str) -> list[list[Step]]:
    """Split a Dockerfile into stages of (instruction, argument), continuation lines joined, comments gone."""
    text = (ROOT / f"Dockerfile.{image}").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    found: list[list[Step]] = [[]]
    for line in re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines():
        word, _, argument = line.strip().partition(" ")
        if word == "FROM":
            found.append([])
        if word:
            found[-1].append((word, argument.strip()))
    return found


def arguments(steps: list[Step], word: str) -> list[str]:
    return [argument for name, argument in steps if name == word]


@pytest.mark.parametrize("image", IMAGES)
def test_the_last_user_is_a_number_above_the_system_range(image: str) -> None:
    user, group = arguments(stages(image)[-1], "USER")[-1].split(":")
    assert int(user) >= 10000
    assert int(group) >= 10000


@pytest.mark.parametrize("image", IMAGES)
def test_every_stage_stands_on_the_base_named_by_the_argument(image: str) -> None:
    preamble, *rest = stages(image)
    assert arguments(preamble, "ARG") == ["BASE=python:3.11-slim-bookworm"]
    assert len(rest) == 2
    assert all(steps[0][1].split()[0] == "${BASE}" for steps in rest)


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_fetched_is_pinned_by_hash_and_never_compiled(image: str) -> None:
    commands = " && ".join(command for steps in stages(image) for command in arguments(steps, "RUN"))
    installs = [part for part in commands.split("&&") if re.search(r"\bpip\b.*\b(install|wheel)\b", part)]
    assert len(installs) == 4
    for install in installs:
        pinned = "--require-hashes" in install and "--only-binary :all:" in install
        own_wheel = "--no-index" in install and "--no-deps" in install
        assert pinned or own_wheel, install


@pytest.mark.parametrize("image", IMAGES)
def test_the_final_stage_builds_nothing(image: str) -> None:
    final = stages(image)[-1]
    assert "pip" not in " ".join(arguments(final, "RUN"))
    assert arguments(final, "COPY") == ["--from=build /opt/hms /opt/hms"]


@pytest.mark.parametrize("image", IMAGES)
def test_bytecode_is_compiled_and_trusted(image: str) -> None:
    assert "compileall -q --invalidation-mode unchecked-hash" in " ".join(arguments(stages(image)[1], "RUN"))


def test_the_sidecar_gets_its_own_package_only() -> None:
    copied = " ".join(arguments(stages("svc")[1], "COPY"))
    assert "hms_svc" in copied
    assert not re.search(r"hms_mgt|hms_gov|hms_cli|migrations", copied)


def locked(image: str) -> set[str]:
    """Return the names an image's lock holds."""
    text = (ROOT / f"requirements/{image}.txt").read_text().lower()
    return {re.sub("[-_.]+", "-", name) for name in re.findall(r"^([a-z0-9_.-]+)==", text, re.MULTILINE)}


@pytest.mark.parametrize("image", IMAGES)
def test_every_command_of_an_image_starts_with_what_its_lock_holds(image: str) -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    shipped = [target.partition(":")[0] for name, target in scripts.items() if image == "mgt" or name == "hms-svc"]
    modules = [*shipped, "hms_svc.agent"] if image == "svc" else shipped
    line = [sys.executable, "-c", AS_IN_THE_IMAGE, ",".join(locked(image) | {"hms"}), *modules]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_sidecars_lock_holds_no_server_library() -> None:
    names = locked("svc")
    assert {"pynacl", "pyyaml"} <= names
    assert not {"fastapi", "sqlalchemy", "pydantic", "redis", "hiredis", "httpx", "typer"} & names


@pytest.mark.parametrize("lock", ["requirements/mgt.txt", "requirements/svc.txt", "deploy/images/backend.txt"])
def test_every_locked_line_has_a_hash(lock: str) -> None:
    joined = (ROOT / lock).read_text().replace("\\\n", " ")
    pins = [line for line in joined.splitlines() if "==" in line and not line.lstrip().startswith("#")]
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)


def test_the_build_context_starts_empty_and_admits_what_is_copied() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert rules[0] == "*"
    admitted = {rule[1:] for rule in rules if rule.startswith("!")}
    for image in IMAGES:
        for copied in arguments(stages(image)[1], "COPY"):
            for source in copied.split()[:-1]:
                assert source in admitted or source.split("/")[0] in admitted, source
    assert not admitted & {"tests", ".env", ".git", "deploy", "docs"}


@pytest.mark.parametrize(
    "name",
    ["Dockerfile.mgt", "Dockerfile.svc", ".dockerignore", "deploy/images/build", "deploy/images/backend.txt"],
)
def test_no_registry_or_index_is_named(name: str) -> None:
    assert "://" not in (ROOT / name).read_text()


def test_the_build_script_refuses_an_image_it_does_not_know() -> None:
    done = subprocess.run([ROOT / "deploy/images/build", "web"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "known: mgt svc" in done.stderr
