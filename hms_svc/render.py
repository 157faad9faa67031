"""Rendered files: a local template's text with its gaps filled, as the target's kind allows.

The kind is the target's ending. YAML and JSON have a tree, so any value may go into it and none becomes
syntax. Of everything else (nginx.conf, .env, .ini, haproxy.cfg) the reader is unknown, so only values that are
syntax to none get in: no blanks, no quotes, nothing that ends a line.

The values are the effective document's, and one of our own, by which a process can prove itself: a probe that the old
configuration would pass as well proves nothing. `{{hms.conf_sha256}}` is the SHA-256 of conf.yml as it is on disk, in
hex, so it changes whenever anything in conf.yml does. A rendered file can have the process show it, and a process that
reads conf.yml can compute it. It is not part of conf.yml, nor of the digest the agent reports.
"""

from collections.abc import Iterable
from typing import Any

from hms_svc.conf_file import read_text
from hms_svc.sodium import sha256
from hms_svc.template import fill_json, fill_text, fill_yaml

SPACE = "hms"
_FILLS = {".yml": fill_yaml, ".yaml": fill_yaml, ".json": fill_json}


def render(target: str, template: str, values: dict[str, Any]) -> str:
    """The target's text.

    Raises:
        ValueError: a gap that cannot be filled, or a template that is none of its kind; says whose and in which line.
    """
    ending = target[target.rfind(".") :].lower()
    try:
        return _FILLS.get(ending, fill_text)(template, values)
    except ValueError as error:
        raise ValueError(f"the template of {target}: {error}") from None


def templates(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The templates' texts by target; OSError or ValueError when one cannot be read."""
    texts = {}
    for template, target in pairs:
        text = read_text(template)
        if text is None:
            raise FileNotFoundError(2, "the template does not exist", template)
        texts[target] = text
    return texts


def gap_values(document: dict[str, Any], text: str) -> dict[str, Any]:
    """The values for one conf.yml: its document, and our own name beside whatever it holds under `hms`."""
    inner = document.get(SPACE)
    ours = {"conf_sha256": sha256(text.encode())}
    return {**document, SPACE: {**inner, **ours} if isinstance(inner, dict) else ours}
