"""What must be there before the loop may start: the pinned keys.

Without keys every message and the whole journal would be refused and live patches undone, so a first start without
them is a bad setting (exit 2), not something to retry. Later starts have what was pinned, whatever became of the file.
"""

from hms_svc.address import SettingsError
from hms_svc.conf_file import read_text
from hms_svc.keyring import Keyring, pinned
from hms_svc.log import emit
from hms_svc.settings import Settings
from hms_svc.trust import Trust, load_trust


def keyring(settings: Settings, wall: float) -> Keyring:
    """The keys that count: those pinned before, else those of the file at HMS_TRUST. `wall` is the time of day."""
    known = _pinned(settings.state)
    ring = Keyring(settings.trust, settings.state, known or trust(settings), kept=known is not None)
    ring.look(0.0, wall)
    return ring


def trust(settings: Settings) -> Trust:
    """The keys of the trust file, as somebody reads it who has none yet."""
    try:
        text = read_text(settings.trust)
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
        return pinned(settings.state) or trust(settings)
    except (OSError, ValueError):
        return trust(settings)


def _pinned(directory: str) -> Trust | None:
    """What an earlier run pinned. What cannot be understood counts as nothing, for the served process goes first."""
    try:
        return pinned(directory)
    except OSError as error:
        raise SettingsError(f"HMS_STATE={directory}: the pinned keys cannot be read: {error.strerror}") from None
    except ValueError as error:
        emit("trust_pin_unreadable", detail=str(error))
        return None
