"""One compliant question and small policies, shared by the tests of this folder."""

from pathlib import Path
from typing import Any

HEAD = "package hms.patch\n\nimport rego.v1\n\n"
ALLOW = HEAD + "default allow := false\nallow if count(deny) == 0\nobligations contains o if some o in []\n"


def body(**other: Any) -> dict[str, Any]:
    """The seed's patch as MGT asks about it, with fields replaced."""
    return {
        "patch_id": 784,
        "tenant": "IACB",
        "service": "ARTIST_REGISTRY_API",
        "version_selector": ">=2.1.0",
        "changes": {"rate_limit_rps": 200, "replicas": 6},
        "window": {"start": "2024-11-20T00:00Z", "end": "2024-12-05T00:00Z"},
        "priority": 0,
        "author": "iacb-dev",
        "author_role": "release_manager",
        "reason": None,
        **other,
    }


def write_policy(folder: Path, **files: str) -> Path:
    """`main="..."` becomes folder/main.rego."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.rego").write_text(text)
    return folder
