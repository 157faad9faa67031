"""Rendered files: a local template's text with its gaps filled, as the target's kind allows.

The kind is the target's ending. YAML and JSON have a tree, so any value may go into it and none becomes
syntax. Of everything else (nginx.conf, .env, .ini, haproxy.cfg) the reader is unknown, so only values that are
syntax to none get in: no blanks, no quotes, nothing that ends a line.
"""

from typing import Any

from hms_svc.template import fill_json, fill_text, fill_yaml

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
