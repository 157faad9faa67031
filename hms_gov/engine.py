"""The Rego engine, alone in a process of its own.

rego.py runs this file as a script with the number of a socket as its argument. Why alone: the engine is a
native library with its own memory allocator. Beside another C++ library it has freed memory that was not its
own, and a policy it does not expect can end the process. Here that costs one answer and not the service. So
this file imports nothing but the engine and what is needed to talk.

One JSON line in, one out: `{"query": "data.x", "modules": {name: text}}` compiles (2 ms), `{"input": {...}}`
evaluates (0.1 ms); the reply is `{"value": {...}}` or `{"fault": "words for a policy author"}`. Three habits
of the engine end here: built-ins are held to the strict rule, because otherwise one that fails makes its rule
undefined, and an undefined *deny* allows; input is given as a JSON term, because the native way cuts strings
at NUL, wraps large integers and rounds small floats; and its printed error trees become a file, a line and a
sentence.
"""

import json
import re
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from regopy import Bundle, Interpreter, LogLevel, RegoError

_PLACED = re.compile(r"\(error \d+:(?P<file>[^|\n]+)\|(?P<offset>\d+)\|\d+\s*\(errormsg (?P<size>\d+):")
_BARE = re.compile(r"\(errormsg (?P<size>\d+):")
_FAILED = (
    "a rule has two values, calls a function that does not exist or refers to itself,"
    " or a built-in failed or is not available"
)


class Fault(Exception):
    """The policy could not be compiled or evaluated."""


class Engine:
    """At most one compiled policy."""

    def __init__(self) -> None:
        self._engine = Interpreter()
        self._bundle: Bundle | None = None

    def answer(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Carry out one request; a fault is an answer like any other."""
        try:
            if "modules" in request:
                self._compile(request["query"], request["modules"])
                return {"value": {}}
            return {"value": self._evaluate(request["input"])}
        except Fault as fault:
            return {"fault": str(fault)}

    def _compile(self, query: str, modules: Mapping[str, str]) -> None:
        self._engine = Interpreter()
        self._engine.log_level = LogLevel.NONE
        self._engine.strict_built_in_errors = True
        try:
            for name, text in modules.items():
                self._engine.add_module(name, text)
            self._bundle = self._engine.build(query)
        except RegoError as error:
            raise Fault(words(str(error), modules)) from error
        if not self._bundle.ok():
            raise Fault(_FAILED)

    def _evaluate(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Every defined name of the package with its value; {} when the package is undefined."""
        # ensure_ascii off: the engine compares strings as they are spelt; "\\u00e9" would not equal "é".
        self._engine.set_input_term(json.dumps(document, ensure_ascii=False, allow_nan=False))
        try:
            output = self._engine.query_bundle(self._bundle)
        except (RegoError, ValueError) as error:  # ValueError: an error printed where JSON was due
            raise Fault(_FAILED) from error
        if not output.ok():
            raise Fault(_FAILED)
        expressions = output.results[0].expressions if output.results else []
        return dict(expressions[0]) if expressions and isinstance(expressions[0], dict) else {}


def words(error: str, modules: Mapping[str, str]) -> str:
    """`window.rego line 3: this is unclosed` out of the engine's printed error tree."""
    placed = _PLACED.search(error)
    if placed is not None and placed["file"] in modules:
        before = modules[placed["file"]].encode()[: int(placed["offset"])]
        line = before.count(b"\n") + 1
        return f"{placed['file']} line {line}: {_message(error, placed)}"
    bare = _BARE.search(error)
    return _message(error, bare) if bare is not None else _FAILED


def _message(error: str, found: re.Match[str]) -> str:
    """The engine prefixes each text with its length, so a message may itself hold brackets."""
    return error[found.end() : found.end() + int(found["size"])].strip()


def main() -> None:
    """Answer until the other end closes, which it does by ending, however it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the service decides
    engine = Engine()
    with socket.socket(fileno=int(sys.argv[1])) as link, link.makefile("rb") as requests:
        for line in requests:
            reply = engine.answer(json.loads(line))
            link.sendall(json.dumps(reply).encode() + b"\n")


if __name__ == "__main__":
    main()
