"""`hms-svc status`: what the agent beside is doing, from its own mouth, or from the journal when it does not run.

It takes no lock and writes nothing. Values of the configuration are never shown, only key paths.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from hms_svc.address import SettingsError
from hms_svc.cli import FAILED, OK, output_form
from hms_svc.conf_file import words as said
from hms_svc.settings import Settings, read, state_directory
from hms_svc.status_client import Reply, ask, holder

FLAGS = {"--live": "/livez", "--ready": "/readyz"}


def status(environ: Mapping[str, str], words: Sequence[str]) -> int:
    """Show it; the result is the exit code."""
    as_json, asked, flags = _options(words)
    state = state_directory(environ, flags)
    if asked:
        return _told(_ask(state, FLAGS[asked]))
    view = _view(state, environ, flags)
    if as_json:
        sys.stdout.write(json.dumps(view, indent=2) + "\n")
    else:
        from hms_svc.status_text import page  # noqa: PLC0415 - only people need it

        sys.stdout.write(page(view))
    return OK if steady(view) else FAILED


def steady(view: Mapping[str, Any]) -> bool:
    """Whether all is as it should be: it runs, hears the control plane, and everything wanted is in effect."""
    return bool(view["running"] and view.get("phase") == "steady" and not view.get("stale"))


def _options(words: Sequence[str]) -> tuple[bool, str, list[str]]:
    """Whether JSON is wanted, which single question is asked, and the settings' flags."""
    as_json, rest = output_form(words)
    asked = next((word for word in rest if word in FLAGS), "")
    return as_json, asked, [word for word in rest if word not in FLAGS]


def _ask(state: str, path: str) -> Reply:
    try:
        return ask(state, path)
    except PermissionError:
        raise SettingsError(f"HMS_STATE={state}: belongs to another user; ask as the user of the agent") from None


def _told(reply: Reply) -> int:
    sys.stdout.write(reply.body or "no answer: no agent runs on this state directory, or its loop is stuck\n")
    return OK if reply.status == 200 else FAILED


def _view(state: str, environ: Mapping[str, str], flags: Sequence[str]) -> dict[str, Any]:
    reply = _ask(state, "/status")
    if reply.status == 200:
        live: dict[str, Any] = json.loads(reply.body)
        return live | {"journal_age_seconds": _journal_age(state)}
    return _left_behind(read(environ, flags)) | {"stuck_pid": holder(state)}


def _journal_age(state: str) -> float | None:
    try:
        return round(time.time() - os.stat(f"{state}/journal.json").st_mtime, 1)  # noqa: PTH116 - pathlib costs a megabyte
    except OSError:
        return None


def _left_behind(settings: Settings) -> dict[str, Any]:
    """What the journal says."""
    from hms_svc import status_view  # noqa: PLC0415 - a running agent answers for itself
    from hms_svc.desired import Desired  # noqa: PLC0415 - as above
    from hms_svc.journal import JournalFile  # noqa: PLC0415 - as above
    from hms_svc.keyring import known_trust  # noqa: PLC0415 - as above

    file = JournalFile(settings.state, settings.tenant, settings.service, settings.version)
    now = time.time()
    try:
        journal, _ = file.read(known_trust(settings))
    except (OSError, ValueError) as error:
        detail = said(error) if isinstance(error, OSError) else error
        raise SettingsError(f"HMS_STATE={settings.state}: the journal cannot be read: {detail}") from None
    desired = Desired(settings.service, settings.version, settings.instance, now)
    desired.restore(journal.revision, journal.patches, journal.latches, complete=journal.complete)
    found = status_view.of_journal(settings, desired, journal, now)
    return found | {"journal_age_seconds": _journal_age(settings.state)}
