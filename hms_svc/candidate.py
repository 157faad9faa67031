"""The files one set of layers makes: conf.yml and what is rendered from it, before anything is written.

Always made from the base, never from the file as it is: ending a patch means making the files again without
it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hms_svc.conf_file import sha
from hms_svc.layers import overlay
from hms_svc.merge import digest, merge
from hms_svc.messages import Patch
from hms_svc.template import fill_text
from hms_svc.yaml_edit import edit
from hms_svc.yaml_tree import load


class Candidate(NamedTuple):
    """Which patches are in it, what they change together, and the whole text of each file by path (conf.yml first)."""

    ids: tuple[int, ...]
    overlay: dict[str, Any]
    texts: dict[str, str]

    @property
    def sha(self) -> str:
        """Fingerprint of all its files."""
        return sha(*self.texts.values())

    @property
    def digest(self) -> str:
        """What the instance reports: the digest of the changes in force, which MGT computes as well."""
        return digest(self.overlay)

    @property
    def document(self) -> dict[str, Any]:
        """The effective document."""
        return mapping(next(iter(self.texts.values())))


def mapping(text: str) -> dict[str, Any]:
    """conf.yml as a mapping (an empty file is an empty one); ValueError when it is anything else."""
    document = load(text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ValueError("conf.yml must hold a mapping at the top")  # noqa: TRY004 - one error for all bad content
    return document


def make(base: str, layers: Sequence[Patch], conf: str, templates: Mapping[str, str]) -> Candidate:
    """Fold the layers over the base text; `templates` are texts by target path. ValueError or TemplateError else."""
    changes = overlay(layers)
    document = merge(mapping(base), changes)
    text = edit(base, document) if layers else base
    rendered = {target: fill_text(template, document) for target, template in templates.items()}
    return Candidate(tuple(layer.id for layer in layers), changes, {conf: text, **rendered})
