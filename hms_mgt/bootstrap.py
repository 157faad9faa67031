"""The only place that reads settings and builds objects. Everything else is handed what it needs."""

import logging
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from nacl.signing import SigningKey

from hms_mgt.bus import RedisBus
from hms_mgt.governance import HttpGovernance
from hms_mgt.parts import Parts
from hms_mgt.ports import Orchestrator
from hms_mgt.settings import Settings
from hms_mgt.signer import Signer
from hms_mgt.store.database import Database
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
    """
    key = wire.load_signing_key((settings.keys / "mgt.key").read_text())
    trust = wire.load_trust((settings.keys / "trust.json").read_text())
    return Parts(
        db=Database(settings.database_url),
        bus=RedisBus(settings.redis_url),
        governance=HttpGovernance(settings.gov_url, trust.gov),
        signer=Signer(key),
        trust=trust,
        clock=SystemClock(),
        orchestrators=_orchestrators(settings),
        progress_deadline=timedelta(seconds=settings.progress_deadline_s),
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


def write_keys(directory: Path) -> None:
    """Make the keys of GOV and MGT and the trust file that pins both. Existing files are left alone.

    Raises:
        FileExistsError: some of the files are there already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    gov, mgt = SigningKey.generate(), SigningKey.generate()
    files = {
        "gov.key": wire.dump_signing_key(gov),
        "mgt.key": wire.dump_signing_key(mgt),
        "trust.json": wire.dump_trust([gov.verify_key], [mgt.verify_key]),
    }
    there = [name for name in files if (directory / name).exists()]
    if there:
        raise FileExistsError(f"{directory} holds {', '.join(there)} already; keys are never overwritten")
    for name, text in files.items():
        path = directory / name
        path.touch(mode=0o644 if name == "trust.json" else 0o600)
        path.write_text(text)
