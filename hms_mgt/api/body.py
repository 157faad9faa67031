"""Reads request bodies by one strict profile: JSON or YAML, no duplicate keys, no aliases, bounded."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from fastapi import Request

from hms_mgt.errors import Invalid, Problem, TooLarge, UnsupportedMedia, pointer
from hms_svc import yaml_tree
from hms_svc.merge import MAX_DEPTH

LARGEST = 65_536
# What is read at all; between the two limits the answer can still say which rule was broken.
_READ_AT_MOST = 1_048_576
_TOO_DEEP = f"is nested deeper than {MAX_DEPTH} levels"
_YAML = re.compile(r"(application|text)/(x-|[a-z0-9.-]+\+)?yaml")
_JSON = re.compile(r"application/([a-z0-9.-]+\+)?json")


class Body(NamedTuple):
    """A parsed body and a digest that tells whether a retry is the same request."""

    document: Any
    digest: str


async def read(request: Request) -> Body:
    """Read and parse the body.

    Raises:
        TooLarge: beyond a mebibyte, where reading stops.
        UnsupportedMedia: neither JSON nor YAML.
        Invalid: over 64 KiB, not UTF-8, malformed, duplicate keys, aliases, too deep.
    """
    return _parsed(request, await _bytes(request))


async def read_if_any(request: Request) -> Any:
    """Read and parse a body that may be left out, and return its document: None where nothing came.

    Raises:
        TooLarge, UnsupportedMedia, Invalid: as `read` does.
    """
    raw = await _bytes(request)
    return _parsed(request, raw).document if raw else None


def _parsed(request: Request, raw: bytes) -> Body:
    media = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    parse = _parser(media)
    if len(raw) > LARGEST:
        raise _invalid("", f"the body has {len(raw)} bytes; at most {LARGEST} (64 KiB)")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise _invalid("", f"the body is not UTF-8 (byte {error.start})") from None
    return Body(parse(text), hashlib.sha256(media.encode() + b"\0" + raw).hexdigest())


def _parser(media: str) -> Any:
    if _YAML.fullmatch(media):
        return parse_yaml
    if _JSON.fullmatch(media):
        return parse_json
    raise UnsupportedMedia(f"send application/json or application/yaml, not {media[:100]}")


async def _bytes(request: Request) -> bytes:
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _READ_AT_MOST:
            raise TooLarge("the body is larger than 1 MiB", [Problem("", "at most 64 KiB")])
    return bytes(raw)


def parse_yaml(text: str) -> Any:
    """Parse YAML by the strict profile that the sidecar uses too."""
    try:
        return yaml_tree.load(text)
    except yaml_tree.YamlError as error:
        raise _invalid(error.pointer, f"{error}") from None


def parse_json(text: str) -> Any:
    """Parse JSON; duplicate keys, NaN and depth beyond the sidecar's own limit are refused."""
    try:
        document = json.loads(text, object_pairs_hook=_Pairs, parse_constant=_no_constant)
    except RecursionError:
        raise _invalid("", _TOO_DEEP) from None
    except ValueError as error:
        raise _invalid("", f"the body is not JSON: {error}") from None
    return _unpaired(document, "", 1)


class _Pairs(list[tuple[str, Any]]):
    """An object's members as they stood, so that duplicates are still there to be found."""


def _unpaired(value: Any, here: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise _invalid(here, _TOO_DEEP)
    if isinstance(value, _Pairs):
        return _mapping(value, here, depth)
    if isinstance(value, list):
        return [_unpaired(one, here + pointer(index), depth + 1) for index, one in enumerate(value)]
    return value


def _mapping(pairs: Sequence[tuple[str, Any]], above: str, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        here = above + pointer(key)
        if key in found:
            raise _invalid(here, "this key stands here twice")
        found[key] = _unpaired(value, here, depth + 1)
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON knows")


def _invalid(where: str, detail: str) -> Invalid:
    return Invalid.of([Problem(where, detail)])
