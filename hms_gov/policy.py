"""A folder of .rego files as one function: a question in, a judgement out, and "no" whenever in doubt.

The folder is read again for every judgement (a few small files, tens of microseconds) and compiled again
only when its bytes changed, so a policy author's edit counts from the next decision on, whatever the file's
timestamps say. Everything unclear is a denial with a reason: no file, no package, a syntax error, a failing
rule, a value of the wrong type. Nothing is signed here; decision.py says what is signed.
"""

import hashlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hms_gov.rego import QUERY, EngineError, PolicyError, Rego

UNREAD = "unread"  # the revision of a policy whose bytes are not known


class UnreadableError(PolicyError):
    """The folder or a file in it could not be read, so no revision names what is in force."""


class Judgement(NamedTuple):
    """What the policy says of one patch. `reasons` is empty exactly when it is allowed."""

    reasons: tuple[str, ...]
    obligations: tuple[Any, ...]
    revision: str

    @property
    def verdict(self) -> str:
        """The word that is signed: allow or deny."""
        return "deny" if self.reasons else "allow"


class Policy:
    """The policy folder, safe to ask from several threads: the engine is not, so one question at a time."""

    def __init__(self, folder: Path) -> None:
        """Read nothing yet: a broken folder is a denial with a reason, not a service that does not start."""
        self._folder = folder
        self._lock = threading.Lock()
        self._files: dict[str, bytes] | None = None
        self._revision = UNREAD
        self._compiled: Rego | str = "never read"

    def judge(self, question: Mapping[str, Any]) -> Judgement:
        """Ask the policy as it is on disk now. Never raises for what a policy author did."""
        with self._lock:
            self._refresh()
            try:
                return _judged(self._ready().ask(question), self._revision)
            except PolicyError as fault:
                return Judgement((f"the policy cannot be evaluated: {fault}",), (), self._revision)

    def fault(self) -> str | None:
        """Why every decision would be a denial right now, or None; said once when the service starts."""
        with self._lock:
            self._refresh()
            return self._compiled if isinstance(self._compiled, str) else None

    def _refresh(self) -> None:
        """Bring `_compiled` in step with the disk; on a fault it holds the words of the fault instead."""
        try:
            files = read_folder(self._folder)
            if files == self._files:
                return
            self._files, self._revision = files, revision(files)
            self._compiled = Rego(_texts(files))
        except UnreadableError as fault:
            self._files, self._revision, self._compiled = None, UNREAD, str(fault)
        except EngineError as fault:
            self._files, self._compiled = None, str(fault)  # try the same text again next time
        except PolicyError as fault:
            self._compiled = str(fault)

    def _ready(self) -> Rego:
        if isinstance(self._compiled, str):
            raise PolicyError(self._compiled)
        return self._compiled


def read_folder(folder: Path) -> dict[str, bytes]:
    """The folder's own *.rego files by name, not subfolders: a mounted ConfigMap repeats itself there."""
    try:
        return {path.name: path.read_bytes() for path in sorted(folder.glob("*.rego"))}
    except OSError as error:
        raise UnreadableError(f"{error.filename or folder}: {error.strerror}") from error


def revision(files: Mapping[str, bytes]) -> str:
    """Name the policy by its content: any edit, rename, addition or removal gives another revision."""
    summary = hashlib.sha256()
    for name, content in sorted(files.items()):
        summary.update(f"{name}\0{len(content)}\0".encode())
        summary.update(content)
    return f"sha256:{summary.hexdigest()}"


def _texts(files: Mapping[str, bytes]) -> dict[str, str]:
    if not files:
        raise PolicyError("the policy folder holds no .rego file")
    texts = {}
    for name, content in files.items():
        try:
            texts[name] = content.decode()
        except UnicodeDecodeError as error:
            raise PolicyError(f"{name}: not UTF-8 text") from error
    return texts


def _judged(answer: Mapping[str, Any], held: str) -> Judgement:
    reasons = [*_denials(answer), *_not_a_set(answer, "obligations")]
    if not reasons and answer.get("allow") is not True:
        reasons = [_allow_words(answer)]
    obligations = () if reasons else tuple(answer["obligations"])
    return Judgement(tuple(reasons), obligations, held)


def _denials(answer: Mapping[str, Any]) -> list[str]:
    """Sentences are passed on; anything else in the set denies too, and says the policy is at fault."""
    wrong = _not_a_set(answer, "deny")
    if wrong:
        return wrong
    return [entry if isinstance(entry, str) else f"{QUERY}.deny holds {entry!r}, not text" for entry in answer["deny"]]


def _not_a_set(answer: Mapping[str, Any], name: str) -> list[str]:
    if name not in answer:
        return [f"{QUERY}.{name} is undefined"]
    return [] if isinstance(answer[name], list) else [f"{QUERY}.{name} is not a set"]


def _allow_words(answer: Mapping[str, Any]) -> str:
    if "allow" not in answer:
        return f"{QUERY}.allow is undefined"
    if answer["allow"] is False:
        return f"{QUERY}.allow is false"
    return f"{QUERY}.allow is not exactly true"
