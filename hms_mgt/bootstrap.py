"""The only place that reads settings and builds objects. Everything else is handed what it needs."""

import logging
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import SupportsBytes

import structlog
from nacl.signing import SigningKey

from hms_mgt.bus import open_bus
from hms_mgt.domain.rate import Rates
from hms_mgt.domain.succession import countersigned, every_key
from hms_mgt.governance import HttpGovernance
from hms_mgt.identity import issuers
from hms_mgt.identity.verify import Verifier
from hms_mgt.orchestrators.files import sync_directory, write_durably
from hms_mgt.parts import Parts
from hms_mgt.ports import Orchestrator
from hms_mgt.settings import Settings
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
from hms_mgt.usecases.authenticate import Authenticator
from hms_mgt.usecases.limits import Limits
from hms_svc import wire
from hms_svc.trust import Trust, dump_plain, load_trust


class SystemClock:
    """`ports.Clock` by the machine's clock."""

    def now(self) -> datetime:
        """Return the present instant in UTC."""
        return datetime.now(UTC)


def build(settings: Settings) -> Parts:
    """Build the parts. Nothing is contacted yet.

    Raises:
        OSError: the key or the trust file cannot be read.
        ValueError: they hold something else.
        Invalid: the issuers of tokens are not described as they must be.
    """
    signer, trust = read_keys(settings.keys)
    db, clock = Database(settings.database_url, signer), SystemClock()
    return Parts(
        db=db,
        bus=open_bus(settings.redis_url, settings.tls),
        governance=HttpGovernance(settings.gov_url, trust.gov),
        signer=signer,
        trust=trust,
        clock=clock,
        orchestrators=_orchestrators(settings),
        progress_deadline=timedelta(seconds=settings.progress_deadline_s),
        authenticator=Authenticator(db, _verifier(settings), clock, time.monotonic),
        limits=Limits(
            Rates(settings.rate_per_token, settings.rate_per_tenant, settings.rate_failed_auth), time.monotonic
        ),
        audit_witness=settings.audit_witness,
    )


def _verifier(settings: Settings) -> Verifier:
    return Verifier(() if settings.oidc is None else issuers.load(settings.oidc), time.monotonic)


def read_keys(directory: Path) -> tuple[Signer, Trust]:
    """Read MGT's keys (`mgt.key`, `mgt-2.key` and so on) and the trust file that must pin exactly what they do.

    Raises:
        OSError: one of them cannot be read.
        ValueError: they hold something else.
    """
    files = [directory / "mgt.key", *sorted(directory.glob("mgt-*.key"))]
    keys = [wire.load_signing_key(file.read_text()) for file in files]
    text = (directory / "trust.json").read_text()
    trust = load_trust(text)
    _must_suffice(keys, trust.mgt, directory)
    if not countersigned(text):
        raise ValueError(
            f"{directory}: GOV has not signed trust.json, so every sidecar would refuse it: hms-gov trust sign"
        )
    return Signer(*keys, ours=lambda: _ours(directory / "trust.json", trust)), trust


def _ours(path: Path, known: Trust) -> list[SupportsBytes]:
    """Return MGT's keys, those of earlier days as well, by the trust file of now if there is one."""
    try:
        return [*known.mgt.keys, *every_key(path.read_text())]
    except (OSError, ValueError):
        return [*known.mgt.keys]


def _must_suffice(keys: Sequence[SigningKey], pins: wire.Pins, directory: Path) -> None:
    """Whatever sidecars would refuse must not be signed in the first place."""
    strangers = {bytes(key.verify_key) for key in keys} - set(map(bytes, pins.keys))
    if strangers:
        names = ", ".join(sorted(wire.key_id(key) for key in strangers))
        raise ValueError(f"{directory}: trust.json does not pin MGT's key {names}, so every sidecar would refuse it")
    if len(keys) != pins.threshold:
        raise ValueError(
            f"{directory}: {len(keys)} mgt*.key sign, and trust.json wants exactly {pins.threshold} signatures of MGT"
        )


def _orchestrators(settings: Settings) -> dict[str, Orchestrator]:
    if settings.orchestrator == "none":
        return {}
    # Only where processes are started are the `local` extra's packages there.
    from hms_mgt.orchestrators.local import Address, LocalOrchestrator  # noqa: PLC0415

    address = Address(settings.redis_url, settings.mgt_url, settings.keys / "trust.json")
    return {"local": LocalOrchestrator(settings.data, address)}


def log_json(level: int = logging.INFO) -> None:
    """Write logs as JSON lines on standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def write_keys(directory: Path, gov: int = 1, mgt: int = 1) -> None:
    """Make `gov` keys of GOV and `mgt` of MGT, and the trust file that wants them all. Existing files are left alone.

    All are complete before the first is moved into place. An attempt that was interrupted after that is finished by
    the next one, so that the three always belong together; trust.json comes last.

    Raises:
        FileExistsError: some of the files are there already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / ".made"
    wanted = [*_key_files("gov", gov), *_key_files("mgt", mgt), "trust.json"]
    left = sorted(path.name for path in made.glob("*"))
    there = [name for name in left or wanted if (directory / name).exists()]
    if there:
        raise FileExistsError(f"{directory} holds {', '.join(there)} already; keys are never overwritten")
    if not left:
        _make_keys(directory / ".making", gov, mgt).replace(made)
    for name in left or wanted:
        (made / name).rename(directory / name)
        sync_directory(directory)
    made.rmdir()


def _key_files(signer: str, count: int) -> list[str]:
    return [f"{signer}.key", *(f"{signer}-{number}.key" for number in range(2, count + 1))]


def _make_keys(directory: Path, gov: int, mgt: int) -> Path:
    """Make a complete set of keys in a directory of its own. Returns the directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    pins = [_make_signer(directory, _key_files(signer, count)) for signer, count in (("gov", gov), ("mgt", mgt))]
    write_durably(directory / "trust.json", _first_trust(*pins), 0o644)
    return directory


def _make_signer(directory: Path, names: Sequence[str]) -> wire.Pins:
    keys = [SigningKey.generate() for _ in names]
    for name, key in zip(names, keys, strict=True):
        write_durably(directory / name, wire.dump_signing_key(key), 0o600)
    return wire.Pins(tuple(bytes(key.verify_key) for key in keys), len(keys))


def _first_trust(gov: wire.Pins, mgt: wire.Pins) -> str:
    """Version 1 where it can say all there is: every sidecar reads it."""
    serial = 0 if gov.threshold == mgt.threshold == 1 else 1
    return dump_plain(Trust(gov, mgt, serial), wire.rfc3339(time.time()))
