"""The keys the agent believes: pinned at its first start, and moved on only by a trust file that those keys signed.

Whoever can replace the file at HMS_TRUST must not be able to replace the control plane. So what was accepted is kept in
the state directory, and a replaced file is taken over while the agent runs or refused aloud; refused, it changes
nothing and the agent goes on with what it has. Pinning anew is a person's act: remove the kept file, and restart.

Without keys every message and the whole journal would be refused and live patches undone, so a first start without
them is a bad setting (exit 2), not something to retry. Later starts have what was pinned, whatever became of the file.

Looking is a stat when the loop is awake anyway; nothing here wakes it.
"""

from typing import Literal, TypeAlias

from hms_svc.address import SettingsError
from hms_svc.clock import PAUSE_SECONDS
from hms_svc.conf_file import Glance, glance, read_text, words, write_atomically
from hms_svc.log import emit
from hms_svc.settings import Settings
from hms_svc.trust import MAX_BYTES, Trust, dump_plain, load_trust, succeed
from hms_svc.wire import Refused, key_id, rfc3339

FILE = "trust.json"
MODE = 0o600

Seen: TypeAlias = Glance | Literal["not yet"] | None


class Keyring:
    """What is pinned, and the file that may move it on. `now` is the monotonic clock, `wall` the time of day."""

    def __init__(self, path: str, directory: str, trust: Trust, *, kept: bool) -> None:
        self.trust = trust
        self._path = path
        self._place = kept_path(directory)
        self._kept = kept
        self._seen: Seen = "not yet"
        self._next = 0.0
        self._refused = ""
        self._unkept = ""

    @property
    def trouble(self) -> str:
        """Why the file is not what counts, or why what counts is not kept; "" when all is well."""
        return self._refused or self._unkept

    def undisturbed(self, now: float) -> bool:
        """Whether the file is as it was when last looked at, and nothing is left to be kept; that counts as a look."""
        if now >= self._next:
            if not self._kept or glance(self._path) != self._seen:
                return False
            self._next = now + PAUSE_SECONDS
        return True

    def look(self, now: float, wall: float) -> bool:
        """Take in the file if somebody changed it; whether other keys count now."""
        if now < self._next:
            return False
        self._next = now + PAUSE_SECONDS
        if not self._kept and self._keep(self.trust, wall):
            emit("trust_pinned", **shown(self.trust))
        seen = glance(self._path)
        return seen != self._seen and self._take_in(seen, wall)

    def _take_in(self, seen: Seen, wall: float) -> bool:
        try:
            found = following(self.trust, self._path)
        except OSError as error:
            if f"trust: unreadable: {words(error)}" != self._refused:  # looked at each time: it may come back
                self._refuse("unreadable", words(error))
            return False
        except Refused as refusal:
            self._refuse(refusal.reason, refusal.detail)
            self._seen = seen
            return False
        if found != self.trust and not self._keep(found, wall):
            return False
        self._seen, self._refused = seen, ""
        return self._move_on(found)

    def _move_on(self, found: Trust) -> bool:
        if found == self.trust:
            return False
        self.trust = found
        emit("trust_moved_on", **shown(found))
        return True

    def _keep(self, trust: Trust, wall: float) -> bool:
        """Write down what is to count; what is not written down would not be remembered, so it must not count yet."""
        try:
            keep(self._place, trust, wall)
        except OSError as error:
            if not self._unkept:
                emit("trust_not_kept", detail=words(error))
            self._unkept = f"trust: not kept: {words(error)}"
            return False
        self._kept, self._unkept = True, ""
        return True

    def _refuse(self, reason: str, detail: str) -> None:
        """Say it, unless the file is only garbage of another kind: while somebody writes it, each look shows more."""
        torn = "trust: malformed: "
        known = reason == "malformed" and self._refused.startswith(torn)
        self._refused = f"trust: {reason}: {detail}"
        if not known:
            emit("trust_refused", reason=reason, detail=detail, file=self._path)


def open_keyring(settings: Settings, wall: float) -> Keyring:
    """The keys that count: those pinned before, else those of the file at HMS_TRUST. `wall` is the time of day."""
    known = _pinned_before(settings.state)
    ring = Keyring(settings.trust, settings.state, known or given(settings), kept=known is not None)
    ring.look(0.0, wall)
    return ring


def given(settings: Settings) -> Trust:
    """The keys of the trust file, as somebody reads it who has none yet."""
    try:
        text = read_text(settings.trust, MAX_BYTES)
        if text is None:
            raise SettingsError(f"HMS_TRUST={settings.trust}: no such file; ask the control plane's operator")
        return load_trust(text)
    except OSError as error:
        raise SettingsError(f"HMS_TRUST={settings.trust}: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"HMS_TRUST={settings.trust}: {error}") from None


def known_trust(settings: Settings) -> Trust:
    """The keys an agent here would go by, for those who only look: nothing is pinned or said."""
    try:
        return pinned(settings.state) or given(settings)
    except (OSError, ValueError):
        return given(settings)


def _pinned_before(directory: str) -> Trust | None:
    """What an earlier run pinned. What cannot be understood counts as nothing, for the served process goes first."""
    try:
        return pinned(directory)
    except OSError as error:
        raise SettingsError(f"HMS_STATE={directory}: the pinned keys cannot be read: {error.strerror}") from None
    except ValueError as error:
        emit("trust_pin_unreadable", detail=str(error))
        return None


def following(trust: Trust, path: str) -> Trust:
    """The trust after the file at `path`, for somebody who pinned `trust`; Refused where it does not follow."""
    return succeed(trust, _text(path))


def kept_path(directory: str) -> str:
    """Where the accepted trust is kept."""
    return f"{directory}/{FILE}"


def pinned(directory: str) -> Trust | None:
    """What was accepted before; None when nothing was; OSError or ValueError when it cannot be read."""
    text = read_text(kept_path(directory), MAX_BYTES)
    return None if text is None else load_trust(text)


def keep(path: str, trust: Trust, wall: float) -> None:
    """Write down what is accepted, synced; OSError when the disk does not take it."""
    write_atomically(path, dump_plain(trust, rfc3339(wall)), MODE)


def _text(path: str) -> str:
    """The trust file's text; Refused where there is none."""
    try:
        text = read_text(path, MAX_BYTES)
    except ValueError as error:
        raise Refused("malformed", str(error)) from None
    if text is None:
        raise Refused("malformed", f"{path} does not exist")
    return text


def shown(trust: Trust) -> dict[str, object]:
    """A trust for people and logs: its serial, and the ids of the keys with how many of them must sign."""
    return {
        "serial": trust.serial,
        **{
            name: f"{pins.threshold} of {', '.join(key_id(key) for key in pins.keys)}"
            for name, pins in (("gov", trust.gov), ("mgt", trust.mgt))
        },
    }
