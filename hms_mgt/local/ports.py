"""The ports of one data directory, kept over restarts: sidecars that outlived the control plane know the old ones."""

import json
from pathlib import Path

from hms_mgt.orchestrators.files import write_durably
from hms_mgt.orchestrators.free_port import any_free, becomes_free

_PATIENCE_S = 3.0


class Ports:
    """The ports of one data directory."""

    def __init__(self, record: Path) -> None:
        self._record = record
        self._known: dict[str, int] = json.loads(record.read_text()) if record.exists() else {}

    def get(self, name: str) -> int:
        """Return the port `name` had before if it is free again, else a free one."""
        known = self._known.get(name)
        if known is None or not becomes_free(known, _PATIENCE_S):
            self._known[name] = any_free()
            write_durably(self._record, json.dumps(self._known), 0o644)
        return self._known[name]
