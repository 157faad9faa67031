"""The agent's view as Prometheus text: numbers only, and no label that could name anything secret."""

import os
from collections.abc import Mapping
from typing import Any

PHASES = ("applying", "steady", "failed")
STAGES = ("received", "verified", "checked", "written", "reloaded", "effective", "failed", "reverted")
RESULTS = ("effective", "checked", "written", "reloaded", "unconfirmed")


def text(view: Mapping[str, Any]) -> str:
    """The whole page."""
    return "".join(_family(*family) for family in _families(view))


def _families(view: Mapping[str, Any]) -> list[tuple[str, str, str, dict[str, float]]]:
    """Name, type, help, and value by label."""
    own = {"service": view["service"], "version": view["version"], "instance": view["instance"]}
    return [
        ("info", "gauge", "Who this is; always 1.", {_labels(own): 1}),
        ("revision", "gauge", "Revision of the stream that is held.", {"": view["revision"]}),
        ("head", "gauge", "Highest revision anybody trusted spoke of.", {"": view["head"]}),
        ("link_up", "gauge", "Whether both connections to Redis stand.", {"": view["link_up"]}),
        ("stale", "gauge", "Whether no fresh signed word came for 30 s.", {"": view["stale"]}),
        ("word_age_seconds", "gauge", "Age of the last signed word.", {"": view["word_age_seconds"]}),
        ("in_effect", "gauge", "Whether anything was confirmed since the start.", {"": view["in_effect"]}),
        ("phase", "gauge", "1 for the phase it is in.", _one(view["phase"])),
        ("patches_held", "gauge", "Patches of the stream that are held.", {"": view["held"]}),
        ("patches_active", "gauge", "Patches confirmed to be in effect.", {"": len(view["active"])}),
        ("patches_failed", "gauge", "Patches that failed here and are not tried again.", {"": len(view["failed"])}),
        ("drift_keys", "gauge", "Keys that somebody edited in the file.", {"": len(view["drift"])}),
        ("attempts_total", "counter", "Attempts by where they ended.", _by("end", view["attempts"], RESULTS)),
        ("receipts_total", "counter", "Patches by the stage they reached.", _by("stage", view["receipts"], STAGES)),
        ("refused_total", "counter", "Messages that were refused.", _by("reason", view["refused"])),
        ("reconnects_total", "counter", "Times the link came back.", {"": view["reconnects"]}),
        ("clock_jumps_total", "counter", "Steps of the clock that were noticed.", {"": view["clock"].get("jumps", 0)}),
        ("last_apply_seconds", "gauge", "How long the last apply took.", _known(view["last_apply_seconds"])),
        ("process_start_time_seconds", "gauge", "When the agent started, as Unix time.", {"": _started()}),
        ("resident_memory_bytes", "gauge", "Resident memory of the agent.", {"": _resident()}),
    ]


def _family(name: str, kind: str, words: str, values: Mapping[str, float]) -> str:
    head = f"# HELP hms_svc_{name} {words}\n# TYPE hms_svc_{name} {kind}\n"
    return head + "".join(f"hms_svc_{name}{labels} {_number(value)}\n" for labels, value in values.items())


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))


def _one(phase: str) -> dict[str, float]:
    return {_labels({"phase": name}): name == phase for name in (*PHASES, *({phase} - set(PHASES)))}


def _by(label: str, counts: Mapping[str, int], always: tuple[str, ...] = ()) -> dict[str, float]:
    """Every stage from the start on, so that a rate sees the first one of its kind."""
    return {_labels({label: name}): counts.get(name, 0) for name in dict.fromkeys((*always, *counts))}


def _known(value: float | None) -> dict[str, float]:
    return {} if value is None else {"": value}


def _labels(pairs: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _resident() -> int:
    return int(_read("/proc/self/statm").split()[1]) * os.sysconf("SC_PAGESIZE")


def _started() -> float:
    """From the kernel: it stays the same whatever the clock does."""
    ticks = int(_read("/proc/self/stat").rpartition(")")[2].split()[19])
    boot = next(int(line.split()[1]) for line in _read("/proc/stat").splitlines() if line.startswith("btime"))
    return boot + ticks / float(os.sysconf("SC_CLK_TCK"))


def _read(path: str) -> str:
    with open(path) as file:  # noqa: PTH123 - pathlib costs a megabyte
        return file.read()
