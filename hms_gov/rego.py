"""The service's side of the Rego engine: a child process, started when needed and replaced when it fails.

engine.py says why the engine lives in another process. Here a crash or an answer that does not come becomes
a PolicyError, so the caller denies. A crash is tried once more on a fresh engine, because something else
may have ended the process; a question that crashes it twice is the cause.
"""

import io
import json
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

QUERY = "data.hms.patch"
CHILD = Path(__file__).with_name("engine.py")
START_PATIENCE = 10.0  # seconds for a new process to compile the policy; a tenth of one is usual
PATIENCE = 1.0  # seconds for one answer; a thousandth is usual, and a caller waits two before it asks again


class PolicyError(Exception):
    """The policy could not be compiled or evaluated; the text is fit for a policy author."""


class EngineError(PolicyError):
    """The engine failed and not the policy's text; the same text may do next time."""


class _CrashedError(Exception):
    """The engine's process ended instead of answering."""


class _Child:
    """One running engine process. Its end of the socket closes with this process, so it never outlives us."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", str(CHILD), str(theirs.fileno())]
        with theirs:
            process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
            )
        self._link, self._replies = ours, ours.makefile("rb")
        self.end = weakref.finalize(self, _end, process, ours, self._replies)

    def ask(self, request: Mapping[str, Any], patience: float) -> dict[str, Any]:
        """One request, one reply. TimeoutError and _CrashedError leave the child unusable: end it."""
        self._link.settimeout(patience)
        try:
            self._link.sendall(json.dumps(request, allow_nan=False).encode() + b"\n")
            reply = self._replies.readline()
        except ConnectionError as error:
            raise _CrashedError from error
        if not reply.endswith(b"\n"):
            raise _CrashedError
        answer: dict[str, Any] = json.loads(reply)
        return answer


def _end(process: subprocess.Popen[bytes], link: socket.socket, replies: io.BufferedReader) -> None:
    replies.close()
    link.close()
    process.kill()
    process.wait()


class Rego:
    """One policy text ready to be asked. Not thread-safe: the caller holds a lock around it."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        """Compile `modules` (file name -> text); PolicyError names the file and line of a syntax error."""
        self._modules = modules
        self._child: _Child | None = None
        self._patiently(None)

    def ask(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Every defined name of the package with its value; {} when the package is undefined."""
        return self._patiently(document)

    def close(self) -> None:
        """End the engine's process; the next question starts another."""
        if self._child is not None:
            self._child.end()
        self._child = None

    def _patiently(self, document: Mapping[str, Any] | None) -> dict[str, Any]:
        for _attempt in range(2):
            try:
                return self._once(document)
            except TimeoutError:
                self.close()
                raise EngineError("the policy engine takes too long") from None
            except _CrashedError:
                self.close()
        raise EngineError("the policy engine crashed on it, twice")

    def _once(self, document: Mapping[str, Any] | None) -> dict[str, Any]:
        if self._child is None:
            self._child = _Child()
            _value(self._child.ask({"query": QUERY, "modules": self._modules}, START_PATIENCE))
        return {} if document is None else _value(self._child.ask({"input": document}, PATIENCE))


def _value(reply: Mapping[str, Any]) -> dict[str, Any]:
    if "fault" in reply:
        raise PolicyError(reply["fault"])
    value: dict[str, Any] = reply["value"]
    return value
