"""The files one set of layers makes: conf.yml and what is rendered from it, before anything is written.

Always made from the base, never from the file as it is: ending a patch means making the files again without
it.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from hms_svc.conf_file import sha
from hms_svc.layers import overlay
from hms_svc.merge import digest, merge
from hms_svc.messages import Patch
from hms_svc.render import gap_values, render
from hms_svc.yaml_edit import edited
from hms_svc.yaml_tree import Document, read

KEPT_LETTERS = 65_536
"""The largest conf.yml whose nodes and values stay in memory between two folds; they are ten times its text."""


class Files(NamedTuple):
    """Which patches are in it, what they change together, and the whole text of each file by path (conf.yml first)."""

    ids: tuple[int, ...]
    overlay: dict[str, Any]
    texts: dict[str, str]


class Candidate(Files):
    """Files to be, or that once were."""

    @property
    def conf(self) -> str:
        """The text of conf.yml."""
        return next(iter(self.texts.values()))

    @cached_property
    def sha(self) -> str:
        """Fingerprint of all its files."""
        return sha(*self.texts.values())

    @cached_property
    def conf_sha(self) -> str:
        """Fingerprint of conf.yml."""
        return sha(self.conf)

    @property
    def digest(self) -> str:
        """What the instance reports: the digest of the changes in force, which MGT computes as well."""
        return digest(self.overlay)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The effective document. Read when asked for, where it did not come with the files."""
        return mapping(self.conf)


def mapping(text: str) -> dict[str, Any]:
    """conf.yml as a mapping (an empty file is an empty one), not to be changed; ValueError when it is anything else."""
    value: dict[str, Any] = conf_document(text).value
    return value


def conf_document(text: str) -> Document:
    """conf.yml read, with a mapping at the top; the last one is kept, for the base is folded again and again."""
    return _kept(text) if len(text) <= KEPT_LETTERS else _read(text)


def _read(text: str) -> Document:
    document = read(text)
    if not isinstance(document.value, dict):
        raise ValueError("conf.yml must hold a mapping at the top")  # noqa: TRY004 - one error for all bad content
    return document


_kept = lru_cache(maxsize=1)(_read)


def make(base: str, layers: Sequence[Patch], conf: str, templates: Mapping[str, str]) -> Candidate:
    """Fold the layers over the base text; `templates` are texts by target path. ValueError or TemplateError else."""
    changes = overlay(layers)
    before = conf_document(base)
    document = merge(before.value, changes)
    text = edited(before, document) if layers else base
    gaps = gap_values(document, text) if templates else {}
    rendered = {target: render(target, template, gaps) for target, template in templates.items()}
    candidate = Candidate(tuple(layer.id for layer in layers), changes, {conf: text, **rendered})
    if len(text) <= KEPT_LETTERS:
        candidate.document = document  # what `edited` made certain the text says
    return candidate
