"""Looks at what is reached over the network: Redis and what it permits, MGT, our own port, MGT's clock."""

import select
import socket
import time
from collections.abc import Callable

from hms_svc import http, resp, source, status_client
from hms_svc.address import HttpAddress, SettingsError
from hms_svc.check_files import Missing
from hms_svc.cli import within
from hms_svc.errand import Bell
from hms_svc.keyring import known_trust
from hms_svc.messages import Heartbeat, read_message
from hms_svc.pair import Pair
from hms_svc.settings import Settings
from hms_svc.trust import Trust
from hms_svc.wire import Refused

BEAT_SECONDS = 5.5
MGT_SECONDS = 5.0
SIGNERS = "is HMS_TRUST this control plane's, and TENANT the right one?"
MOST_SKEW_SECONDS = 2.0


def redis(settings: Settings) -> str:
    """It answers, and permits each thing the agent does there."""
    pair = _pair(settings)
    try:
        found = _permitted(pair, settings)
    except resp.RedisError as error:
        raise Missing(settings.redis.without_secrets(f"{settings.redis.shown}: {error}")) from None
    finally:
        pair.close()
    snapshot = _believed(found, settings) if found else f"no {settings.snapshot_key} yet"
    return f"{settings.redis.shown}: permits SUBSCRIBE, GET, XADD and PING; {snapshot}"


def _believed(snapshot: bytes, settings: Settings) -> str:
    """Words for a snapshot that the agent would take; Missing for one it would refuse."""
    try:
        read_message(snapshot, known_trust(settings), settings.tenant)
    except SettingsError:  # told by the check of the keys
        return "a snapshot is there, and no key to verify it"
    except Refused as refusal:
        raise Missing(f"the snapshot there would be refused: {refusal}; {SIGNERS}") from None
    return "a snapshot is there"


def _pair(settings: Settings) -> Pair:
    try:
        return Pair(settings.redis, settings.channel, settings.snapshot_key, Bell())
    except (OSError, resp.RedisError) as error:
        shown = settings.redis.shown
        raise Missing(settings.redis.without_secrets(f"{shown}: {str(error).removeprefix(f'{shown}: ')}")) from None


def _permitted(pair: Pair, settings: Settings) -> bytes:
    """Try each command where it belongs; the snapshot, or nothing where none is."""
    ask = pair.cluster.follow if pair.cluster else pair.speaker.call
    pair.speaker.call("PING")
    found = ask("GET", settings.snapshot_key)
    try:
        # An entry may not have the id 0-0, so whoever may XADD gets an error and nothing is added or made.
        ask("XADD", f"ack::{settings.tenant}", "0-0", "m", "check")
    except resp.RedisSaidNo as no:
        if "0-0" not in str(no):
            raise
    return found if isinstance(found, bytes) else b""


def mgt(settings: Settings) -> str:
    """It answers to this token, and the agent would take its snapshot."""
    if settings.mgt is None:
        return "no fallback (HMS_MGT_URL is not set)"
    found = source.fetch(settings.mgt, source.snapshot_path(settings.mgt, settings), settings.token)
    return f"{settings.mgt.shown}: {_believed(found, settings) if found else 'answers, no stream yet'}"


def listen(settings: Settings) -> str:
    """The port is free, or is our own agent's."""
    beside = _beside(settings)
    ours = "an agent runs beside" if beside else "no agent runs beside"
    if settings.listen is None:
        return f"no port is asked for (HMS_LISTEN is not set); {ours}"
    host, port = settings.listen
    if not beside:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind(sock, host, port)
        return f"{host}:{port} is free; {ours}"
    try:
        there = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound, but reached
        status = http.get(HttpAddress(there, port, "", None), "/livez", {}, 2.0, 100).status
    except http.HttpError as error:
        raise Missing(f"an agent runs beside and does not serve {host}:{port}: {error}") from None
    return f"{host}:{port} answers {status}; {ours}"


def _bind(sock: socket.socket, host: str, port: int) -> None:
    try:
        sock.bind((host, port))
    except OSError as error:
        raise Missing(f"{host}:{port}: {error.strerror}") from None


def _beside(settings: Settings) -> bool:
    """Whether an agent runs beside, as far as this user may know."""
    try:
        return status_client.ask(settings.state, "/livez").status == 200
    except PermissionError:
        return False


def clock(settings: Settings) -> str:
    """The time of day here is the control plane's: by MGT's answer, or else by its next heartbeat."""
    now = time.time()
    skew, by = _in_time(MGT_SECONDS + 0.5, lambda: _skew_to_mgt(settings)), "MGT's answer"
    if skew is None:
        skew, by = _in_time(BEAT_SECONDS + 0.5, lambda: _skew_to_beat(settings)), "MGT's heartbeat"
    if skew is None:
        return "not compared: neither MGT nor a heartbeat of it was heard"
    if abs(skew) > MOST_SKEW_SECONDS:
        raise Missing(f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} {by} ({time.ctime(now)} here)")
    return f"within {MOST_SKEW_SECONDS:g} s of {by}"


def _in_time(seconds: float, look: Callable[[], float | None]) -> float | None:
    """None also where that takes too long: why it does is told by the checks of these."""
    try:
        return within(seconds, look)
    except TimeoutError:
        return None


def _skew_to_mgt(settings: Settings) -> float | None:
    """How far our clock is ahead, to the second; None when nobody says."""
    if settings.mgt is None:
        return None
    try:
        answer = http.get(settings.mgt, source.snapshot_path(settings.mgt, settings), {}, MGT_SECONDS, 0)
        said = _epoch(answer.headers.get("date", ""))
    except (http.HttpError, ValueError):
        return None
    here = time.time()
    # The stamp says the second it was in.
    return 0.0 if said <= here < said + 1 else min(here - said, here - said - 1, key=abs)


def _epoch(stamp: str) -> float:
    import calendar  # noqa: PLC0415 - only this command needs it

    return calendar.timegm(time.strptime(stamp, "%a, %d %b %Y %H:%M:%S GMT"))


def _skew_to_beat(settings: Settings) -> float | None:
    """As above, by the first heartbeat of the next seconds."""
    try:
        trust, pair = known_trust(settings), _pair(settings)
    except Exception:  # noqa: BLE001 - told by the checks of these
        return None
    try:
        return _first_beat(pair, settings.tenant, trust)
    except resp.RedisError:
        return None
    finally:
        pair.close()


def _first_beat(pair: Pair, tenant: str, trust: Trust) -> float | None:
    until = time.monotonic() + BEAT_SECONDS
    while (left := until - time.monotonic()) > 0:
        select.select([pair.listener.sock], [], [], left)
        replies, _ = pair.listener.receive(64)
        for reply in replies:
            if isinstance(reply, list) and reply[0] == b"message" and (issued := _issued(reply[2], tenant, trust)):
                return time.time() - issued
    return None


def _issued(raw: bytes, tenant: str, trust: Trust) -> float | None:
    """When a heartbeat was signed; None for anything else."""
    try:
        message = read_message(raw, trust, tenant)
    except Refused:
        return None
    return message.issued if isinstance(message, Heartbeat) else None
