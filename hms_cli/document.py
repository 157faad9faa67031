"""The patch file: found, and checked for syntax, before anyone is asked.

Only syntax: the server's strict profile decides what the file means, and it must see every byte as the
author wrote it. So the file is walked as events, which builds nothing and follows no alias, and sent
untouched.
"""

import sys
from pathlib import Path

import yaml

from hms_cli.client import JSON, Body
from hms_cli.errors import ClientError
from hms_cli.outcome import Code


def read(file: str) -> Body:
    """`file`, or standard input for `-`. ClientError for what no server needs to see."""
    content = _bytes(file)
    media = JSON if file.endswith(".json") else "application/yaml"
    if not content.strip():
        raise ClientError(Code.USAGE, f"{_name(file)} is empty")
    _check(content, _name(file))
    return Body(content, media)


def _bytes(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise ClientError(Code.USAGE, f"cannot read {file}: {error.strerror}") from error


def _name(file: str) -> str:
    return "standard input" if file == "-" else file


def _check(content: bytes, name: str) -> None:
    try:
        for _event in yaml.parse(content, Loader=yaml.CSafeLoader):
            pass
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{name}:{mark.line + 1}:{mark.column + 1}" if mark else name
        raise ClientError(Code.USAGE, f"{where}: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ClientError(Code.USAGE, f"{name}: not text: {str(error).splitlines()[0]}") from error
