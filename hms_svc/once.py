"""`run --once` in one line: what is in effect now, or why not."""

from collections.abc import Mapping
from typing import Any


def words(view: Mapping[str, Any], *, done: bool) -> str:
    """The line, from the agent's view at its end."""
    failed = [one for one in view["patches"] if one["stage"].startswith("failed")]
    if done:
        return f"in effect: {_effect(view)}"
    if failed:
        told = "; ".join(f"patch {one['id']} {one['stage']}: {' '.join(one['detail'].split())}" for one in failed)
        return f"failed: {told}; in effect: {_effect(view)}"
    if view["trouble"]:
        return f"failed: {' '.join(view['trouble'].split())}"
    if not view["answered"]:
        return f"failed: nobody answered with the stream, neither {view['redis']} nor HMS_MGT_URL"
    if view["phase"] != "steady":
        return "failed: the service did not show the new configuration in time"
    return f"not reported, for the link to {view['redis']} is down; in effect: {_effect(view)}"


def _effect(view: Mapping[str, Any]) -> str:
    if not view["in_effect"]:
        return "unknown"
    patches = ", ".join(str(patch_id) for patch_id in view["active"])
    return f"revision {view['revision']}, {f'patches {patches}' if patches else 'the base without patches'}"
