"""The only place that reads settings and builds objects. Everything else is handed what it needs."""

import logging
import shutil
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from nacl.signing import SigningKey

from hms_mgt.bus import RedisBus
from hms_mgt.domain.rate import Rates
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
        bus=RedisBus(settings.redis_url),
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


def read_keys(directory: Path) -> tuple[Signer, wire.Trust]:
    """Read MGT's key and the trust file.

    Raises:
        OSError: one of them cannot be read.
        ValueError: they hold something else.
    """
    key = wire.load_signing_key((directory / "mgt.key").read_text())
    trust = wire.load_trust((directory / "trust.json").read_text())
    return Signer(key, trust.mgt), trust


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


_KEY_FILES = ("gov.key", "mgt.key", "trust.json")


def write_keys(directory: Path) -> None:
    """Make the keys of GOV and MGT and the trust file that pins both. Existing files are left alone.

    All are complete before the first is moved into place. An attempt that was interrupted after that is finished by
    the next one, so that the three always belong together; trust.json comes last.

    Raises:
        FileExistsError: some of the files are there already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    made = directory / ".made"
    left = sorted(path.name for path in made.glob("*"))
    there = [name for name in left or _KEY_FILES if (directory / name).exists()]
    if there:
        raise FileExistsError(f"{directory} holds {', '.join(there)} already; keys are never overwritten")
    if not left:
        _make_keys(directory / ".making").replace(made)
    for name in left or _KEY_FILES:
        (made / name).rename(directory / name)
        sync_directory(directory)
    made.rmdir()


def _make_keys(directory: Path) -> Path:
    """Make a complete set of keys in a directory of its own. Returns the directory."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    gov, mgt = SigningKey.generate(), SigningKey.generate()
    write_durably(directory / "gov.key", wire.dump_signing_key(gov), 0o600)
    write_durably(directory / "mgt.key", wire.dump_signing_key(mgt), 0o600)
    write_durably(directory / "trust.json", wire.dump_trust([gov.verify_key], [mgt.verify_key]), 0o644)
    return directory
